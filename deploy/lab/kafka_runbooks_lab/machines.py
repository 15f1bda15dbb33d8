"""A machine: a process tree in mount and pid namespaces of its own, whose first process is its power switch.

The lab is one machine, which also owns the network; every node is another one inside it, with its own `/var` and `/run`,
so all paths are those of a real node. Killing the first process kills every process of the machine at once and drops
its mounts: as close to a power cut as possible, and the reason why nothing is left on the host.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kafka_runbooks_lab import paths
from kafka_runbooks_lab.cgroups import Cgroups
from kafka_runbooks_lab.errors import LabError
from kafka_runbooks_lab.processes import Process, detach


class Machine:
    """One machine by name; its state is on disk, so any process of the lab can control it."""

    def __init__(self, name: str, group: str, cgroups: Cgroups) -> None:
        self.name = name
        self._group = group
        self._cgroups = cgroups

    @property
    def _first(self) -> Path:
        return paths.MACHINES / f"{self.name}.json"

    def process(self) -> Process | None:
        """The first process, as the host sees it, if the machine has power."""
        return Process.load(self._first)

    def boot(self, prepare: str, *, within: "Machine | None" = None, network: bool = False) -> None:
        """Create the namespaces, run the shell script `prepare` in them (raising if it fails), and leave the holder running."""
        paths.MACHINES.mkdir(parents=True, exist_ok=True)
        reader, writer = os.pipe()
        unshare = ["unshare", "--mount", "--pid", "--fork", "--propagation", "private", *(["--net"] if network else [])]
        script = f'mount -t proc proc /proc\n{prepare}\nexec "$@"'
        holder = [sys.executable, "-I", "-S", str(Path(__file__).with_name("holder.py")), str(writer)]
        argv = [*unshare, "sh", "-ec", script, "sh", *holder]
        try:
            starter = detach(self._joining(within.inside(argv) if within else argv), self._log(), keep=[writer])
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            if pipe.readline() != b"ready\n":
                raise LabError(f"machine {self.name} did not boot; see {self._log()}")
        process = starter
        while children := process.children():
            process = children[0]
        process.save(self._first)

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` in the machine."""
        process = self.process()
        if process is None:
            raise LabError(f"{self.name} has no power")
        return ["nsenter", "-t", str(process.pid), "-m", "-n", "-p", "--", *argv]

    def run(self, *argv: str, input: str | None = None, check: bool = True) -> str:
        """Run a command in the machine and return its output; `LabError` with its error output if it fails."""
        done = subprocess.run(self.inside(argv), input=input or "", capture_output=True, text=True)
        if check and done.returncode:
            raise LabError(f"{shlex.join(argv)[:300]} ({self.name}): {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def spawn(self, daemon: str, *argv: str, env: Mapping[str, str] | None = None) -> None:
        """Start a daemon in the machine; its output goes to the log of that name."""
        starter = detach(self._joining(self.inside(argv)), self._log(daemon), env=env)
        starter.save(self._daemon(daemon))

    def daemon(self, daemon: str) -> Process | None:
        """A daemon's own process, if it runs (what was started is nsenter, whose only child it is)."""
        starter = Process.load(self._daemon(daemon))
        children = starter.children() if starter else []
        return children[0] if children else None

    def signal(self, daemon: str, number: int) -> None:
        """Send a signal to a daemon, and to the nsenter above it: that stops itself when its child stops."""
        process = self.daemon(daemon)
        if process is None:
            raise LabError(f"{daemon} does not run on {self.name}")
        for each in (process, Process.load(self._daemon(daemon))):
            if each:
                each.signal(number)

    def power_off(self) -> None:
        """Kill every process of the machine at once, without a chance to shut down."""
        if process := self.process():
            process.end(signal.SIGKILL)
        self._first.unlink(missing_ok=True)

    def _joining(self, argv: Sequence[str]) -> list[str]:
        return ["sh", "-c", f'{self._cgroups.enter(self._group)}; exec "$@"', "sh", *argv]

    def _daemon(self, daemon: str) -> Path:
        return paths.MACHINES / f"{self.name}.{daemon}.json"

    def _log(self, daemon: str | None = None) -> Path:
        paths.LOGS.mkdir(parents=True, exist_ok=True)
        return paths.LOGS / (f"{self.name}-{daemon}.log" if daemon else f"{self.name}.log")


def wait_until(what: str, ready: object, seconds: float, pause_seconds: float = 0.1) -> None:
    """Poll `ready()` until it is true; `LabError` with `what` on timeout. A LabError of `ready` means not yet."""
    deadline = time.monotonic() + seconds
    last = ""
    assert callable(ready)
    while True:
        try:
            if ready():
                return
        except (LabError, OSError) as error:
            last = f" ({error})"
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not ready after {seconds:.0f} s{last}; logs are in {paths.LOGS}")
        time.sleep(pause_seconds)
