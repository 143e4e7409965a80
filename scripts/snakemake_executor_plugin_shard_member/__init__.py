"""`--executor shard-member`: the Snakemake inside a shard. It runs jobs as on one machine and leaves their exit codes.

`slurm-shards` starts it once for all jobs of a SLURM job. A job has ended when its exit code lies in the folder
`--shard-member-codes`: after Snakemake has checked the job's outputs, and long before the whole shard has ended.
"""

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional
from urllib.parse import quote

from snakemake.executors import local
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

common_settings = local.common_settings


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    codes: Optional[str] = field(  # noqa: UP045 - Snakemake's registry understands no other spelling
        default=None,
        metadata={"help": "Folder of the exit codes, one file per job (internal use only)", "required": True},
    )


class Executor(local.Executor):
    """Snakemake's local executor, with exit codes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.codes = Path(self.workflow.executor_settings.codes)
        self.terminated = self.watching = False
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background commands without it

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        self.watch_for_termination()
        super().run_jobs(jobs)

    def watch_for_termination(self) -> None:
        """Note SIGTERM before the scheduler sees it: what fails after it was ended from outside, not by itself."""
        if self.watching:
            return
        schedulers_own = signal.getsignal(signal.SIGTERM)

        def terminate(number: int, frame: object) -> None:
            self.terminated = True
            if callable(schedulers_own):
                schedulers_own(number, frame)  # type: ignore[arg-type]

        signal.signal(signal.SIGTERM, terminate)
        self.watching = True

    def handle_job_success(self, job: JobExecutorInterface) -> None:
        super().handle_job_success(job)
        self.leave(job, 0)

    def handle_job_error(self, job: JobExecutorInterface) -> None:
        super().handle_job_error(job)
        if not self.terminated:
            self.leave(job, 1)

    def leave(self, job: JobExecutorInterface, code: int) -> None:
        path = self.codes / code_name(job)
        part = path.with_name(f"{path.name}.part")
        part.write_text(f"{code}\n")
        part.replace(path)


def code_name(job: JobExecutorInterface) -> str:
    """The file name of a job's exit code: its rule, its wildcards and its attempt, the same in both Snakemakes."""
    (spec,) = job.get_target_spec()
    parts = [spec.rulename, *(f"{name}={value}" for name, value in sorted(spec.wildcards_dict.items()))]
    return "-".join(quote(part, safe="=") for part in [*parts, str(job.attempt)])
