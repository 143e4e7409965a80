"""A real SLURM of several nodes on this machine: slurmctld, slurmd and munge of Debian's packages, in one folder.

    python tests/slurm/cluster.py up FOLDER && . FOLDER/environment      # then sbatch, squeue, snakemake --profile ...
    python tests/slurm/cluster.py down FOLDER

Two nodes make up the partition cpu, one with two pretended GPUs the partition gpu. The daemons listen on loopback only
and need no accounting database, no cgroups, no systemd and no root: all runs as this user. Memory limits hold: usage is
looked at every two seconds. Only processes are ended that belong to the folder.
"""

import argparse
import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "sbatch")
DAEMONS = ("slurmctld", "slurmd", "munged")
NODES = {"cpu1": "", "cpu2": "", "gpu1": " Gres=gpu:2"}
GPUS = ("/dev/null", "/dev/zero")  # SLURM counts a GPU only where there is a character device
SECONDS = 60.0  # until everything is up

SLURM_CONF = """\
ClusterName=charaloom
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=30
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
MailProg=/bin/true
{bind}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=5,sched_min_interval=200000
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
EnforcePartLimits=ALL
MinJobAge=600
KillWait=5
SlurmdTimeout=15
InactiveLimit=0
MessageTimeout=10
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes=cpu1,cpu2 Default=YES DefaultTime=10 MaxTime=1-00:00:00 State=UP
PartitionName=gpu Nodes=gpu1 DefaultTime=10 MaxTime=1-00:00:00 State=UP
"""


class Cluster:
    """Daemons of one folder; `environment` is what the SLURM commands need to find them."""

    def __init__(self, folder: Path, cpus: int = 4, memory_mb: int = 8000):
        self.folder = folder.resolve()
        self.cpus, self.memory_mb = cpus, memory_mb

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}

    def run(self, *command: str, check: bool = True) -> str:
        result = subprocess.run(command, env=self.environment, text=True, capture_output=True, timeout=60)
        if check and result.returncode:
            raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip() or result.returncode}")
        return result.stdout

    # --- up

    def up(self) -> None:
        missing = [name for name in PROGRAMS if not shutil.which(name, path=self.environment["PATH"])]
        if missing:
            raise RuntimeError(
                f"{', '.join(missing)}: not installed; apt-get install slurmctld slurmd slurm-client munge"
            )
        for name in ("run", "log", "state", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.start_munge()
        self.write_configuration()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        wait_until(self.all_idle, "the nodes", self.tail)

    def start_munge(self) -> None:
        """With a key and a socket of its own, as this user."""
        home = self.folder / "munge"
        home.mkdir(exist_ok=True)
        (home / "key").write_bytes(os.urandom(128))
        (home / "key").chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.run("munged", *(f"--{option}={home / name}" for option, name in files.items()))
        wait_until((home / "socket").exists, "munged", self.tail)

    def write_configuration(self) -> None:
        port, *ports = free_ports(1 + len(NODES))
        lines = [
            f"NodeName={node} Port={own} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs={self.cpus} "
            f"RealMemory={self.memory_mb}{gres} State=UNKNOWN"
            for own, (node, gres) in zip(ports, NODES.items(), strict=True)
        ]
        facts = {"folder": self.folder, "port": port, "user": getpass.getuser(), "bind": bind()}
        text = SLURM_CONF.format(nodes="\n".join(lines), **facts)
        (self.folder / "slurm.conf").write_text(text)
        lines = [f"NodeName=gpu1 Name=gpu File={device}" for device in GPUS]
        (self.folder / "gres.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "environment").write_text(f"export SLURM_CONF={self.folder}/slurm.conf PATH=$PATH:/usr/sbin\n")

    def start_controller(self) -> None:
        self.run("slurmctld")

    def start_node(self, node: str) -> None:
        self.run("slurmd", "-N", node)

    def all_idle(self) -> bool:
        names = self.run("sinfo", "--noheader", "--Node", "--states=idle", "--format=%N", check=False)
        return set(names.split()) == set(NODES)

    def tail(self) -> str:
        logs = sorted((self.folder / "log").glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-2000:]}" for log in logs)

    # --- down, and what goes wrong on purpose

    def stop_controller(self) -> None:
        end([self.folder / "run" / "slurmctld.pid"])

    def kill_node(self, node: str) -> None:
        """A machine that disappears: its daemon, its job steps and all processes of its jobs, at once."""
        jobs = self.run("squeue", "--noheader", f"--nodelist={node}", "--states=running", "--format=%A").split()
        end([self.folder / "run" / f"{node}.pid"], signal.SIGKILL)
        for pid, environment in processes_of(self.folder):
            name = command_of(pid)
            if any(f"SLURM_JOB_ID={job}" in environment or f"slurmstepd: [{job}." in name for job in jobs):
                kill(pid)

    def down(self) -> None:
        """End everything that belongs to this folder, then remove it."""
        if (self.folder / "slurm.conf").exists():
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                self.run("scancel", "--me", "--full", "--signal=KILL")
                self.run("scancel", "--me")
        end([*(self.folder / "run").glob("*.pid"), self.folder / "munge" / "pid"])
        for pid, environment in processes_of(self.folder):
            if "slurmstepd" in command_of(pid) or any(line.startswith("SLURM_JOB_ID=") for line in environment):
                kill(pid)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def cluster(folder: Path, **settings: int) -> Iterator[Cluster]:
    """A cluster while the block runs."""
    started = Cluster(folder, **settings)
    try:
        started.up()
        yield started
    finally:
        started.down()


def bind() -> str:
    """Loopback only, where the name of this host leads there: the daemons bind to the address of that name."""
    with contextlib.suppress(OSError):
        if socket.gethostbyname(socket.gethostname()).startswith("127."):
            return "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
    return ""


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(true: Callable[[], bool], what: str, tail: Callable[[], str], seconds: float = SECONDS) -> None:
    limit = time.monotonic() + seconds
    while not true():
        if time.monotonic() > limit:
            raise RuntimeError(f"{what}: not there after {seconds:.0f} s\n{tail()}")
        time.sleep(0.1)


def end(pid_files: list[Path], how: signal.Signals = signal.SIGTERM) -> None:
    """Ask the processes of pid files to end; after ten seconds they are killed."""
    pids = []
    for file in pid_files:
        with contextlib.suppress(OSError, ValueError):
            pids.append(int(file.read_text()))
    daemons = [pid for pid in pids if Path(command_of(pid).partition(" ")[0]).name in DAEMONS]
    for pid in daemons:
        kill(pid, how)
    limit = time.monotonic() + 10
    while any(map(running, daemons)) and time.monotonic() < limit:
        time.sleep(0.05)
    for pid in filter(running, daemons):
        kill(pid)


def kill(pid: int, how: signal.Signals = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)


def running(pid: int) -> bool:
    """Whether a process lives; one that only waits for its parent to look does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def processes_of(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """Processes whose environment names this cluster, but not this one, with their environments."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            environment = path.read_bytes().decode(errors="replace").split("\0")
            if f"SLURM_CONF={folder}/slurm.conf" in environment and int(path.parent.name) != os.getpid():
                yield int(path.parent.name), environment


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    started = time.monotonic()
    one = Cluster(options.folder)
    try:
        one.down() if options.what == "down" else one.up()
    except RuntimeError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        one.down()
        return 1
    print(f"{options.what} after {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
