"""A working directory with Charaloom's Snakefile on it, and what Snakemake says there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from charaloom.config.schemas import CODE

STATS_ROW = re.compile(r"^([a-z]\w*) +(\d+)$")


class Workplace:
    """A working directory and what Snakemake says in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(CODE / "Snakefile"), "--cores", "2"]
        # From elsewhere, with --directory: nothing may depend on where the code is called from.
        return subprocess.run(
            [*command, "--directory", str(self.folder), *arguments],
            cwd=self.folder.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs by rule, without `all`."""
        result = self.snakemake(*arguments, "--dry-run", "--quiet", "rules")
        assert result.returncode == 0, result.stdout
        rows = filter(None, map(STATS_ROW.match, result.stdout.splitlines()))
        return {row[1]: int(row[2]) for row in rows if row[1] not in ("all", "total")}

    def charaloom(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "charaloom", *arguments],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CODE / "scripts")},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
