"""`executor: slurm-shards`: snakemake-executor-plugin-slurm with three additions.

Shards. Several jobs of a rule share one SLURM job (`slurm-shards-sizes: checkpoints=8`), which starts Snakemake once
for all of them (`shard-member`): later members find warm what the first has loaded, and short jobs cost neither a SLURM
job nor a start of Snakemake each. Snakemake's own groups do not serve: a group starts only when all of its members are
ready, and when one fails the outputs of all are removed (dag._ready, GroupJob.postprocess). Here each member remains a
job of its own: it is submitted with the other ready ones and leaves an exit code of its own. A second attempt runs
alone, so that a job that exhausts memory or time cannot end others twice.

Chains. `slurm-shards-chains: filtered+tagged+clustered`: a job takes along the jobs of its chain that this run makes
anyway and that wait only for it and for each other. Snakemake submits them when the jobs they need have ended; by then
they run already, or have ended, and only their exit codes are read.

Endings. A job is finished when its exit code lies on the shared file system; SLURM is asked only about jobs that left
none. The plugin asks SLURM alone, loses all jobs where that fails five times in a row, and then waits for ever (2.8.0:
check_active_jobs). Here an outage of SLURM, or jobs that it has forgotten, cost nothing.

The plugin submits, with its settings (`--slurm-shards-…` in place of `--slurm-…`), its logs and its cancelling. A shard
runs Snakemake in the batch script: in a job step of its own, the end of the step would end what is kept warm.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import snakemake_executor_plugin_slurm as slurm
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.utils import format_cli_arg

from charaloom.cli import slurm as cluster
from charaloom.cli.text import counted
from charaloom.errors import CharaloomError
from snakemake_executor_plugin_slurm_shards.shard import Kind, Shard, chains_of, followers, kind_of, sizes_of

common_settings = slurm.common_settings

SECONDS_BETWEEN_LOOKS = 10  # at exit codes; squeue runs every `init-seconds-before-status-checks`
LOG_TAIL = 4000  # characters of a log that are searched
SECONDS_UNTIL_FORGOTTEN = 300  # neither listed by squeue nor with an exit code; set by hand
ALIVE = frozenset(
    {
        "COMPLETING",
        "CONFIGURING",
        "PENDING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESIZING",
        "RESV_DEL_HOLD",
        "RUNNING",
        "SIGNALING",
        "SPECIAL_EXIT",
        "STAGE_OUT",
        "STOPPED",
        "SUSPENDED",
    }
)
ADVICE = {
    "CANCELLED": "somebody cancelled it",
    "FORGOTTEN": "SLURM no longer lists it, and it left no exit code",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it needed more than its mem_mb",
    "PREEMPTED": "another job preempted it",
    "TIMEOUT": "it needed longer than its runtime",
}


@dataclass
class ExecutorSettings(slurm.ExecutorSettings):
    sizes: Optional[str] = field(  # noqa: UP045 - Snakemake's registry understands no other spelling
        default=None,
        metadata={"help": "How many jobs of a rule share a SLURM job: checkpoints=8,filtered=20"},
    )
    chains: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "Rules whose jobs run right after each other in one SLURM job: filtered+tagged+clustered"},
    )
    hold: Optional[int] = field(  # noqa: UP045
        default=20,
        metadata={"help": "Seconds that a job waits for others to fill its shard."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.status_command = "squeue"
        self.pass_command_as_script = True  # a shard is a script


class Executor(slurm.Executor):
    def __post_init__(self) -> None:
        super().__post_init__()
        settings = self.workflow.executor_settings
        self.sizes, self.chains = sizes_of(settings.sizes), chains_of(settings.chains)
        self.ahead: dict[JobExecutorInterface, SubmittedJobInfo] = {}  # followers that Snakemake has not submitted yet
        self.hold = settings.hold
        self.held: dict[Kind, list[JobExecutorInterface]] = {}
        self.holding = threading.Lock()
        self.timer: threading.Timer | None = None
        self.last_query = self.outage = 0.0  # monotonic seconds; no outage: 0
        self.states: dict[str, str] = {}
        self.codes = Path(self.tmpdir) / "codes"
        self.codes.mkdir()
        self.refuse_beside_orphans()

    def refuse_beside_orphans(self) -> None:
        """Raise WorkflowError where jobs of a killed run would write the same files as this run's jobs."""
        try:
            orphans = cluster.jobs_of(self.workflow.workdir_init)
        except CharaloomError as problem:
            raise WorkflowError(str(problem)) from problem
        if orphans:
            raise WorkflowError(
                f"{counted(len(orphans), 'job')} left over from an earlier run in this folder:\n"
                f"{cluster.described(orphans)}\n"
                f"Wait for them, or cancel them: scancel {' '.join(job.id for job in orphans)}"
            )

    # --- submitting

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        for job in jobs:
            self.run_job_pre(job)
        started = [job for job in jobs if self.has_started(job)]
        for job in started:
            self.join(job)
        with self.holding:
            for job in jobs:
                if job not in started:
                    self.held.setdefault(kind_of(job), []).append(job)
            full = [shard for kind in self.held for shard in self.full_shards(kind)]
            if any(self.held.values()) and self.timer is None:
                self.timer = threading.Timer(self.hold, self.release)
                self.timer.daemon = True
                self.timer.start()
        self.submit(full)

    def size_of(self, kind: Kind) -> int:
        rule, attempt, *_ = kind
        return self.sizes.get(rule, 1) if attempt == 1 else 1

    def full_shards(self, kind: Kind) -> list[Shard]:
        """Take full shards of one kind from the held jobs."""
        jobs, size = self.held[kind], self.size_of(kind)
        whole = len(jobs) - len(jobs) % size
        self.held[kind] = jobs[whole:]
        return [self.shard(jobs[start : start + size]) for start in range(0, whole, size)]

    def shard(self, jobs: list[JobExecutorInterface]) -> Shard:
        """A shard of `jobs` and the jobs that can follow them."""
        with_followers = [[job, *followers(job, self.chains.get(job.rule.name, ()), self.dag)] for job in jobs]
        shard = Shard([job for chain in with_followers for job in chain], self.codes)
        shard.codes.mkdir()
        return shard

    def has_started(self, job: JobExecutorInterface) -> bool:
        """Whether a job already runs, or has ended, behind another in its SLURM job."""
        if job not in self.ahead:
            return False
        if job.attempt == 1 and all(need.attempt == 1 for need in self.dag.dependencies[job]):
            return True
        del self.ahead[job]  # a job that it needs has failed there and was made elsewhere
        return False

    def join(self, job: JobExecutorInterface) -> None:
        """Take a job as submitted that has started already."""
        info = self.ahead.pop(job)
        self.logger.info(f"Job {job.jobid} runs already in SLURM job {info.external_jobid}.")
        if info.aux["code"].exists():
            RealExecutor.report_job_submission(self, info)
            self.report_code(info)
        else:
            self.report_job_submission(info)

    def release(self) -> None:
        """Submit the held jobs, although their shards are not full."""
        with self.holding:
            self.timer = None
            shards = [self.shard(jobs) for jobs in self.held.values() if jobs]
            self.held.clear()
        self.submit(shards)

    def submit(self, shards: list[Shard]) -> None:
        for shard in shards:
            self._job_submission_executor.submit(self.run_job, shard)

    def additional_general_args(self) -> str:
        return "--executor shard-member --keep-going"

    def get_job_args(self, job: Shard) -> str:
        """The plugin's, with cores and memory for one job at a time, or for small ones beside each other."""
        memory = job.resources.get("mem_mb")
        limit = f" --resources mem_mb={memory}" if isinstance(memory, int) else ""
        codes = format_cli_arg("--shard-member-codes", str(job.codes))
        return f"{super().get_job_args(job)} --cores {job.threads}{limit} {codes}"

    def format_job_exec(self, job: Shard) -> str:
        return job.script(super().format_job_exec(job))

    def _report_job_submission_threadsafe(self, job_info: SubmittedJobInfo) -> None:
        shard: Shard = job_info.job
        for job in shard.jobs:
            aux = {**job_info.aux, "code": shard.code_of(job), "alive": time.monotonic()}
            info = SubmittedJobInfo(job, job_info.external_jobid, aux)
            if job.rule.name == shard.name:
                super()._report_job_submission_threadsafe(info)
            else:
                self.ahead[job] = info

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        for job in job_info.job.jobs:
            if job.rule.name != job_info.job.name:
                continue  # a follower, which Snakemake has not submitted
            for path in job.log:
                note(path, " ".join(msg.split("\n    sbatch call:")[0].split()))
            super()._report_job_error_threadsafe(SubmittedJobInfo(job), msg)

    # --- endings

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        interval = self.workflow.executor_settings.init_seconds_before_status_checks
        self.next_seconds_between_status_checks = min(SECONDS_BETWEEN_LOOKS, interval)
        if not active_jobs:
            return
        folders = {info.aux["code"].parent for info in active_jobs}
        ended = {Path(entry.path) for folder in folders for entry in os.scandir(folder)}
        silent = [info for info in active_jobs if info.aux["code"] not in ended]
        for info in active_jobs:
            if info.aux["code"] in ended:
                self.report_code(info)
        if silent and time.monotonic() - self.last_query >= interval:
            await self.query_states()
        for info in silent:
            state = self.state_of(info)
            if state is None:
                yield info
            else:
                self.report_state(info, state)

    def report_code(self, info: SubmittedJobInfo) -> None:
        code = info.aux["code"].read_text().strip()
        if code == "0":
            self.report_job_success(info)
        else:
            self.report_job_error(
                info, msg=f"It ended with exit code {code}. ", aux_logs=[str(info.aux["slurm_logfile"])]
            )

    async def query_states(self) -> None:
        """Read the state of every job of this run from squeue. An outage changes no state; it is logged once."""
        try:
            process = await asyncio.create_subprocess_exec(
                *("squeue", "--noheader", "--states=all", "--format=%i|%T", f"--name={self.run_uuid}"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            output, errors = await asyncio.wait_for(process.communicate(), cluster.SECONDS_TO_ANSWER)
            problem = errors.decode().strip() if process.returncode else ""
        except (TimeoutError, OSError) as error:
            problem = str(error) or "it took too long"
        self.last_query = time.monotonic()
        if problem and not self.outage:
            self.logger.warning(f"SLURM does not answer: {problem}\nFinished jobs are noticed all the same.")
            self.outage = self.last_query
        elif not problem:
            if self.outage:
                self.logger.warning(f"SLURM answers again after {self.last_query - self.outage:.0f} s.")
            self.outage = 0.0
            self.states = dict(line.split("|") for line in output.decode().splitlines())

    def state_of(self, info: SubmittedJobInfo) -> str | None:
        """How SLURM ended a job that left no exit code; None while that is uncertain.

        A shared file system may show an exit code late, and squeue does not list a job that was just submitted.
        """
        state = self.states.get(info.external_jobid, "FORGOTTEN")
        now = time.monotonic()
        if self.outage or state in ALIVE:
            info.aux["alive"] = now
            return None
        patience = self.workflow.execution_settings.latency_wait
        if state == "FORGOTTEN":
            patience = max(patience, SECONDS_UNTIL_FORGOTTEN)
        if now - info.aux["alive"] < patience:
            return None
        return state

    def report_state(self, info: SubmittedJobInfo, state: str) -> None:
        log = info.aux["slurm_logfile"]
        state = true_state(state, log)
        why = f"SLURM ended it: {state}" + (f", {ADVICE[state]}" if state in ADVICE else "")
        message = f"{why} (SLURM job {info.external_jobid}, attempt {info.job.attempt}). "
        for path in info.job.log:
            note(path, message)
        self.report_job_error(info, msg=message, aux_logs=[str(log)])

    # --- ending a run

    def cancel(self) -> None:
        with self.holding:
            self.held.clear()
            if self.timer:
                self.timer.cancel()
        super().cancel()

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel each SLURM job once: the members of a shard share one."""
        running = [*active_jobs, *self.ahead.values()]
        super().cancel_jobs(list({info.external_jobid: info for info in running}.values()))


def true_state(state: str, log: Path) -> str:
    """OUT_OF_MEMORY where the log says so: SLURM calls a job FAILED that the node's daemon ended for its memory."""
    try:
        text = log.read_text(errors="replace").lower()[-LOG_TAIL:]
    except OSError:
        return state
    return "OUT_OF_MEMORY" if state == "FAILED" and ("memory limit" in text or "oom" in text) else state


def note(log: str, message: str) -> None:
    """Append what went wrong as the last line of a rule's log: SLURM may give the job no time to write it."""
    try:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8") as handle:
            handle.write(f"\nError: {message}\n")
    except OSError:
        pass  # e.g. a full disk; the run's own log has the message
