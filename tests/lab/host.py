"""What a lab could leave behind on its host, taken before and after."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Counters and the like, which change by themselves.
_VOLATILE = re.compile(r"random/|ns_last_pid|nf_conntrack_count|/pty/nr|softnet|/neigh/|perf_event|sched_domain|tainted")


@dataclass(frozen=True)
class Host:
    """A snapshot; compare two field by field, so that a difference names its kind."""

    processes: frozenset[str]
    mounts: frozenset[str]
    links: frozenset[str]
    rules: str
    sysctls: frozenset[tuple[str, str]]
    cgroups: frozenset[str]

    @classmethod
    def now(cls) -> "Host":
        return cls(
            processes=frozenset(_processes_of_labs()),
            mounts=frozenset(Path("/proc/mounts").read_text().splitlines()),
            links=frozenset(os.listdir("/sys/class/net")),
            rules=_rules(),
            sysctls=frozenset(_sysctls()),
            cgroups=frozenset(str(path) for path in Path("/sys/fs/cgroup").glob("**/*kafka-runbooks*")),
        )


def _processes_of_labs() -> Iterator[str]:
    """Processes in a mount, network or pid namespace that isn't ours, and those whose command line names the lab.

    Everything that the lab starts is one or the other; whatever else starts on this host meanwhile is neither.
    """
    ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "net", "pid")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            foreign = any(os.readlink(process / "ns" / kind) != name for kind, name in ours.items())
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended, or it is the kernel's
        if command and (foreign or re.search(r"kafka_runbooks_lab\.|/kafka-runbooks-lab/", command)):
            yield f"{process.name} {command[:200]}"


def _rules() -> str:
    if shutil.which("iptables-save") is None:
        return ""  # a host on which no lab has ever been: it installs iptables
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    return "\n".join(line for line in saved.splitlines() if not line.startswith("#"))


def _sysctls() -> Iterator[tuple[str, str]]:
    for kind in ("net", "vm", "kernel"):
        for path in Path("/proc/sys", kind).glob("**/*"):
            if path.is_file() and not _VOLATILE.search(str(path)):
                try:
                    yield str(path), path.read_text()
                except OSError:
                    continue  # write-only
