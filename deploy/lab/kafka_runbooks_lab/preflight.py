"""Whether this host can run the lab, checked before anything is changed; every missing feature is named.

Features are tried out in temporary namespaces, not derived from the kernel's configuration.
"""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from kafka_runbooks_lab import packages, paths
from kafka_runbooks_lab.cgroups import Cgroups
from kafka_runbooks_lab.errors import Unsupported

_V1_NEEDED = ("cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer")


def before_installing(ports: tuple[int, ...]) -> None:
    """Check everything possible with a bare system's tools; `Unsupported` lists everything missing."""
    if sys.platform != "linux":
        raise Unsupported(f"the lab needs Linux; this is {platform.system()}")
    if os.geteuid() != 0:
        raise Unsupported("the lab needs root (it makes mounts, network devices and cgroups in namespaces of its own)")
    problems = []
    if platform.machine() != "x86_64":
        problems.append(f"the lab supports x86_64 only; this is {platform.machine()}")
    if packages.missing() and not shutil.which("apt-get"):
        problems.append(f"no apt-get to install {', '.join(packages.missing())}")
    problems += _namespaces() + _cgroups() + _ports(ports)
    if not paths.temporal().exists():
        problems.append(f"no temporal command at {paths.temporal()}: run `uv sync`, or set TEMPORAL_CLI_PATH")
    if problems:
        raise Unsupported("this host can't run the lab:\n" + "\n".join(f"- {problem}" for problem in problems))


def after_installing() -> None:
    """Checks that need `ip` and `iptables`. Until here only Debian packages were installed."""
    problems = []
    tries = {
        "veth devices": "ip link add lab0 type veth peer name lab1",
        "iptables with NAT, comments, statistics and connection tracking": (
            "iptables -w -t nat -A OUTPUT -m comment --comment lab -m statistic --mode random --probability 0.5 "
            "-m addrtype --dst-type LOCAL -p tcp -j DNAT --to-destination 10.0.0.1:80 && "
            "iptables -w -t nat -A POSTROUTING -j MASQUERADE && "
            "iptables -w -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -m mark --mark 1/1 -j ACCEPT"
        ),
    }
    for feature, script in tries.items():
        if complaint := _fails(["unshare", "--mount", "--net", "sh", "-ec", f"mount -t tmpfs run /run; {script}"]):
            problems.append(f"kernel feature missing: {feature} ({complaint})")
    if problems:
        raise Unsupported("this host can't run the lab:\n" + "\n".join(f"- {problem}" for problem in problems))


def _namespaces() -> list[str]:
    problems = []
    for kind, option in {"mount": "--mount", "network": "--net", "pid": "--pid"}.items():
        if complaint := _fails(["unshare", option, "--fork", "true"]):
            problems.append(f"kernel feature missing: {kind} namespaces ({complaint})")
    # Tried on the file system of the nodes' images: overlayfs on top of overlayfs may be refused.
    ground = next(folder for folder in (paths.STATE, *paths.STATE.parents) if folder.exists())
    with tempfile.TemporaryDirectory(dir=ground, prefix=".kafka-runbooks-lab-") as folder:
        for name in ("lower", "upper", "work", "merged"):
            (Path(folder) / name).mkdir()
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        trial = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged"]
        if complaint := _fails(trial):
            problems.append(f"kernel feature missing: overlayfs on the file system of {ground} ({complaint})")
    return problems


def _cgroups() -> list[str]:
    cgroups = Cgroups.of_host()
    if cgroups.v2:
        names = (cgroups.v2 / "cgroup.controllers").read_text().split()
        missing = [name for name in ("cpu", "cpuset", "memory", "pids") if name not in names]
    else:
        mounted = {name for root in cgroups.v1 for name in root.name.split(",")}
        missing = [name for name in _V1_NEEDED if name not in mounted]
    return [f"kernel feature missing: cgroup controller {name} is not mounted" for name in missing]


def _ports(ports: tuple[int, ...]) -> list[str]:
    problems = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                problems.append(f"port {port} of 127.0.0.1 is taken (another Temporal?): stop the process that listens there")
    return problems


def _fails(command: list[str]) -> str:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError as error:
        return str(error)
    return (done.stderr.strip().splitlines() or ["failed"])[-1] if done.returncode else ""
