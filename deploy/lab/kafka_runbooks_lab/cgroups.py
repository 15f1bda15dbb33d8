"""One cgroup tree for the whole lab, on cgroup v1 and v2: usage of a node or the lab, and a last resort to kill everything.

    kafka-runbooks-lab/system            etcd, the control plane, Temporal
    kafka-runbooks-lab/clients           commands run by `exec`
    kafka-runbooks-lab/<node>/system     containerd and kubelet
    kafka-runbooks-lab/<node>/kubepods   made by that node's kubelet

v2 lets only leaves hold processes, hence the folders called system.
"""

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from kafka_runbooks_lab.errors import LabError

NAME = "kafka-runbooks-lab"
_WANTED_V2 = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


@dataclass(frozen=True)
class Cgroups:
    """The host's mounted hierarchies."""

    v1: tuple[Path, ...]
    v2: Path | None
    """The one tree of a v2 host."""
    beside: Path | None = None
    """The v2 tree without controllers that hybrid hosts have beside the v1 ones. runc makes folders in it, too."""

    @classmethod
    def of_host(cls, mounts: Path = Path("/proc/mounts")) -> "Cgroups":
        """Read from the kernel's list of mounts. Nothing is put into a v2 tree beside v1 ones."""
        rows = [line.split() for line in mounts.read_text().splitlines()]
        v1 = tuple(Path(row[1]) for row in rows if row[2] == "cgroup")
        v2 = next((Path(row[1]) for row in rows if row[2] == "cgroup2"), None)
        return cls(v1, None if v1 else v2, v2 if v1 else None)

    @property
    def roots(self) -> tuple[Path, ...]:
        return self.v1 or ((self.v2,) if self.v2 else ())

    def make(self, group: str, *, inner: bool = False) -> None:
        """Make `kafka-runbooks-lab/<group>` in every hierarchy; `inner` groups may have children with controllers."""
        for root in self.v1:
            for folder in _path_to(root, group):
                folder.mkdir(exist_ok=True)
                for file in ("cpuset.cpus", "cpuset.mems"):  # created empty, and processes can't join until it is filled
                    if (folder / file).exists():
                        (folder / file).write_text((folder.parent / file).read_text())
        if self.v2:
            folders = _path_to(self.v2, group)
            for folder in folders:
                folder.mkdir(exist_ok=True)
            for folder in folders if inner else folders[:-1]:
                _delegate(folder)

    def open_root(self) -> list[str]:
        """v2: let the root's children use every controller a kubelet asks for; returns those that were not on before."""
        return _delegate(self.v2) if self.v2 else []

    def close_root(self, controllers: list[str]) -> None:
        """Undo `open_root`. A controller that is in use elsewhere by now stays on: the kernel refuses."""
        if self.v2 is None:
            return
        for controller in controllers:
            with contextlib.suppress(OSError):
                (self.v2 / "cgroup.subtree_control").write_text(f"-{controller}")

    def exists(self) -> bool:
        """Whether any group of the lab exists, including leftovers of a crash."""
        return any((root / NAME).exists() for root in (*self.roots, *([self.beside] if self.beside else [])))

    def enter(self, group: str) -> str:
        """A shell command with which a process moves itself into the group."""
        return "; ".join(f"echo 0 > {_path_to(root, group)[-1]}/cgroup.procs" for root in self.roots) or ":"

    def remove(self, group: str = "", *, wait_seconds: float = 15.0) -> None:
        """Kill the group's processes (default: the whole lab's), then remove its folders; `LabError` if that fails."""
        deadline = time.monotonic() + wait_seconds
        roots = (*self.roots, *([self.beside] if self.beside else []))
        trees = [tree for root in roots if (tree := _path_to(root, group)[-1]).exists()]
        while trees:
            for tree in trees:
                for folder in sorted(tree.glob("**/"), key=lambda path: -len(path.parts)):
                    _kill(folder)
                    with contextlib.suppress(OSError):
                        folder.rmdir()
            trees = [tree for tree in trees if tree.exists()]
            if trees and time.monotonic() > deadline:
                raise LabError(f"can't remove {trees[0]}: a process in it does not end")
            time.sleep(0.05 if trees else 0)

    def memory_bytes(self, group: str = "") -> int:
        """Memory of the group's processes (anonymous and shared; the page cache isn't counted)."""
        for root in self.roots:
            with contextlib.suppress(OSError):
                lines = (_path_to(root, group)[-1] / "memory.stat").read_text().splitlines()
                values = {name: int(value) for name, value in (line.split() for line in lines)}
                names = ("total_rss", "total_shmem") if "total_rss" in values else ("anon", "shmem", "kernel")
                return sum(values.get(name, 0) for name in names)
        return 0


def _path_to(root: Path, group: str) -> list[Path]:
    """The folders from the lab's own down to the group's."""
    folders = [root / NAME]
    for part in filter(None, group.split("/")):
        folders.append(folders[-1] / part)
    return folders


def _delegate(folder: Path) -> list[str]:
    here = (folder / "cgroup.controllers").read_text().split()
    control = folder / "cgroup.subtree_control"
    missing = [name for name in _WANTED_V2 if name in here and name not in control.read_text().split()]
    try:
        if missing:
            control.write_text(" ".join(f"+{name}" for name in missing))
    except OSError as error:
        raise LabError(f"can't delegate the cgroup controllers {', '.join(missing)} below {folder}: {error}") from error
    return missing


def _kill(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (folder / "cgroup.procs").read_text().split():
            if int(pid) not in (0, os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def remember(path: Path, controllers: list[str]) -> None:
    path.write_text(json.dumps(controllers))


def recall(path: Path) -> list[str]:
    return [str(name) for name in json.loads(path.read_text())] if path.exists() else []
