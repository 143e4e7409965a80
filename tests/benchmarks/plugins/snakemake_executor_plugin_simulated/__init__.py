"""`executor: simulated`: every job is done at once, with outputs that say so. What is left is Snakemake's own work."""

from pathlib import Path

from snakemake.io import is_flagged
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecMode

from charaloom.artifacts.files import canonical_json
from charaloom.artifacts.manifest import MANIFEST_ENDING, lineage, lineage_file
from charaloom.vision.models import MODELS_VERSION


def write_lineage(job: JobExecutorInterface) -> None:
    """What `charaloom run` compares, beside the manifest or the receipt."""
    character = job.wildcards.get("character", "")
    params = job.params.stage if character else {**job.params.stage, "version": MODELS_VERSION}
    inputs = [file for file in job.input if not is_flagged(file, "ancient")]
    for output in job.output:
        if output.endswith(MANIFEST_ENDING) or Path(output).parent.name == "published":
            lineage_file(output).write_text(canonical_json(lineage(job.name, character, params, inputs).plain()))


common_settings = CommonSettings(
    non_local_exec=False,  # what Snakemake would run beside itself is simulated too
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=False,
    pass_default_resources_args=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(RealExecutor):
    cores = "all"

    def run_job(self, job: JobExecutorInterface) -> None:
        for output in filter(None, [*job.output, job.benchmark]):
            Path(output).parent.mkdir(parents=True, exist_ok=True)
            Path(output).write_text("made\n")
        write_lineage(job)
        info = SubmittedJobInfo(job)
        self.report_job_submission(info)
        self.report_job_success(info)

    def get_exec_mode(self) -> ExecMode:
        return ExecMode.REMOTE

    def get_python_executable(self) -> str:
        return "python"

    def cancel(self) -> None:
        pass

    def shutdown(self) -> None:
        pass
