"""Processes identified by pid and start time, across commands, so that a reused pid is never mistaken for one."""

import contextlib
import json
import os
import signal as signals
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kafka_runbooks_lab.errors import LabError


@dataclass(frozen=True)
class Process:
    """One process of the host, as recorded."""

    pid: int
    started_ticks: int
    """Field 22 of /proc/PID/stat: clock ticks since boot."""

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has this pid now; `LabError` if there is none."""
        started = _started_ticks(pid)
        if started is None:
            raise LabError(f"process {pid} has ended already")
        return cls(pid, started)

    @classmethod
    def load(cls, path: Path) -> "Process | None":
        """The process that `save` recorded, if the file exists and it is still alive."""
        try:
            process = cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return process if process.alive() else None

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"pid": self.pid, "started_ticks": self.started_ticks}))

    def alive(self) -> bool:
        return _started_ticks(self.pid) == self.started_ticks

    def signal(self, number: int) -> None:
        """Send a signal; a process that has ended is not an error."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, number: int = signals.SIGKILL, wait_seconds: float = 10.0) -> None:
        """Send a signal and wait until the process is gone; `LabError` if it is still there after the wait."""
        self.signal(number)
        deadline = time.monotonic() + wait_seconds
        while self.alive():
            if time.monotonic() > deadline:
                raise LabError(f"process {self.pid} did not end within {wait_seconds} s of signal {number}")
            time.sleep(0.02)

    def children(self) -> list["Process"]:
        try:
            pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return []
        return [process for pid in pids if (process := _maybe(int(pid)))]


def detach(argv: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, keep: Sequence[int] = ()) -> Process:
    """Start a detached process: no terminal, its output in `log`, and its exit reaped by the host's init.

    A plain Popen that outlives its caller causes a ResourceWarning and later a zombie; and a child that keeps the
    caller's standard output makes `kafka-runbooks-lab up | tail` hang until the lab goes down.
    """
    with log.open("ab") as output:
        started = subprocess.run(
            ["sh", "-c", 'setsid "$@" >&2 & echo $!', "sh", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            check=True,
            env={**os.environ, **(env or {})},
            pass_fds=[*keep],
        )
    return Process.of(int(started.stdout))


def _maybe(pid: int) -> Process | None:
    started = _started_ticks(pid)
    return None if started is None else Process(pid, started)


def _started_ticks(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
