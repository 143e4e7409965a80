"""A shard: the jobs that one SLURM job runs with one Snakemake, what they request together, and its script."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snakemake.iocontainers import ResourceList
from snakemake_executor_plugin_shard_member import code_name
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.utils import TargetSpec, encode_target_jobs_cli_args, format_cli_arg

Kind = tuple[str, int, int, tuple[tuple[str, str], ...]]  # rule, attempt, threads, resources that are text
SIZES = ("mem", "disk", "tmpdir")  # first letters of resources that are sizes or places
SCRIPT = r"""# One Snakemake runs all jobs that have no exit code: SLURM may start this job once more.
trap 'kill -TERM $snakemake; wait $snakemake; exit 143' TERM
set --
{members}
[ $# -gt 0 ] || exit 0
{command} &
snakemake=$!
wait $snakemake
status=$?
for code in {codes}; do # Snakemake could not even start, or a job that this one needs has failed
    [ -e "$code" ] || {{ echo $status > "$code.part" && mv "$code.part" "$code"; }}
done
"""


class Shard:
    """Jobs that one Snakemake runs in one SLURM job; to sbatch and to Snakemake's interface a single job.

    It requests the largest of their memory and cores, and the sum of their times. `codes` is the folder with a folder
    for the exit codes of each shard.
    """

    def __init__(self, jobs: list[JobExecutorInterface], codes: Path):
        first = jobs[0]
        self.jobs, self.codes = jobs, codes / f"{first.jobid}-{first.attempt}"
        self.name, self.rule, self.jobid, self.attempt = first.name, first.rule, first.jobid, first.attempt
        self.is_updated = any(job.is_updated for job in jobs)
        self.threads = max(job.threads for job in jobs)
        self.rules = list(dict.fromkeys(job.rule.name for job in jobs))
        self.output: list[str] = []  # only read to find temporary files, which the first Snakemake removes
        self.wildcards = list(first.wildcards)
        others = sum(job.rule.name == self.name for job in jobs) - 1
        if others:
            self.wildcards.append(f"and_{others}_more")
        self.resources = ResourceList(fromdict=self.needs())

    def needs(self) -> dict[str, int | str]:
        needs: dict[str, int | str] = {}
        for job in self.jobs:
            for name, amount in job.resources.items():
                before = needs.get(name)
                if not isinstance(amount, int) or not isinstance(before, int):
                    needs[name] = amount
                else:
                    needs[name] = before + amount if name == "runtime" else max(before, amount)
        return needs

    def is_group(self) -> bool:
        return False

    def format_wildcards(self, text: str) -> str:
        return str(self.jobs[0].format_wildcards(text))

    def get_target_spec(self) -> list[TargetSpec]:
        return [spec for job in self.jobs for spec in job.get_target_spec()]

    def get_wait_for_files(self) -> list[str]:
        """Inputs of the shard: what its own jobs make is not there yet."""
        own = {file for job in self.jobs for file in job.output}
        return list(dict.fromkeys(file for job in self.jobs for file in job.get_wait_for_files() if file not in own))

    def code_of(self, job: JobExecutorInterface) -> Path:
        """Path of a job's exit code; it has another one in each shard."""
        return self.codes / code_name(job)

    def script(self, command: str) -> str:
        """A shell script that runs `command`, Snakemake with all jobs as targets, for those without an exit code."""
        targets = {shlex.quote(str(self.code_of(job))): target_of(job) for job in self.jobs}
        every = format_cli_arg("--target-jobs", list(targets.values()))
        assert every in command, command
        return SCRIPT.format(
            members="\n".join(f'[ -e {code} ] || set -- "$@" {shlex.quote(job)}' for code, job in targets.items()),
            command=command.replace(every, '--target-jobs "$@"'),
            codes=" ".join(targets),
        )


def target_of(job: JobExecutorInterface) -> str:
    """A job as `--target-jobs` names it."""
    return str(encode_target_jobs_cli_args(job.get_target_spec())[0])


def kind_of(job: JobExecutorInterface) -> Kind:
    """Only jobs of one rule, attempt, number of cores, partition and so on share a SLURM job."""
    return job.rule.name, job.attempt, job.threads, texts_of(job)


def texts_of(job: JobExecutorInterface) -> tuple[tuple[str, str], ...]:
    """What a job requests by name: partition, account, kind of GPU. Snakemake also writes sizes as text ("2 GB")."""
    texts = ((name, value) for name, value in job.resources.items() if isinstance(value, str))
    return tuple(sorted((name, value) for name, value in texts if not name.startswith(SIZES)))


def followers(leader: JobExecutorInterface, chain: Iterable[str], dag: Any) -> list[JobExecutorInterface]:
    """Jobs that can run right after `leader` in the same SLURM job, in the order of `chain` (names of rules).

    They are to be run anyway and need nothing that is not there but the leader and each other.
    """
    shard = [leader]
    for rule in chain:
        below = dict.fromkeys(job for above in shard for job in dag.depending[above])
        for job in below:
            due = job.rule.name == rule and dag.needrun(job) and not dag.finished(job)
            alike = (job.attempt, texts_of(job)) == (leader.attempt, texts_of(leader))
            if due and alike and job not in shard and all(ready(need, shard, dag) for need in dag.dependencies[job]):
                shard.append(job)
    return shard[1:]


def ready(need: JobExecutorInterface, shard: list[JobExecutorInterface], dag: Any) -> bool:
    return need in shard or dag.finished(need) or not dag.needrun(need)


def sizes_of(text: str | None) -> dict[str, int]:
    """`checkpoints=8, filtered=20` as a mapping. Raises WorkflowError for anything else."""
    sizes = {}
    for part in (text or "").replace(",", " ").split():
        rule, _, size = part.partition("=")
        if not size.isdigit() or int(size) < 1:
            raise WorkflowError(f"slurm-shards-sizes: {part!r} is not <rule>=<number of jobs>")
        sizes[rule] = int(size)
    return sizes


def chains_of(text: str | None) -> dict[str, list[str]]:
    """`filtered+tagged+clustered, selection+model`: after each rule of a chain the ones that may follow it."""
    chains = {}
    for part in (text or "").replace(",", " ").split():
        rules = part.split("+")
        chains.update({rule: rules[place + 1 :] for place, rule in enumerate(rules)})
    return chains
