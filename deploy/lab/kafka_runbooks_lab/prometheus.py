"""A Prometheus to scrape the brokers with: Debian's own build, unpacked and not installed.

Installing the package would start a server on the host and add a user for it. The binary needs none of the package's other
files, nor the JavaScript that it depends on for its pages.
"""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from kafka_runbooks_lab import paths
from kafka_runbooks_lab.errors import LabError, Unsupported

PACKAGE = "prometheus"


def binary(say: Callable[[str], None]) -> Path:
    """The server's binary, in a folder of the cache that is made when it is first asked for.

    Raises:
        Unsupported: neither on the PATH nor in the cache, and no apt-get.
        LabError: Debian's mirror doesn't give it.
    """
    if found := shutil.which(PACKAGE):
        return Path(found)
    folder = paths.CACHE / "prometheus-debian"
    if not folder.exists():
        if not shutil.which("apt-get"):
            raise Unsupported(f"no {PACKAGE} on the PATH, and no apt-get to get it with")
        say("unpacking Debian's prometheus, once")
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            if _run(["apt-get", "download", "-qq", PACKAGE], partial):  # a fresh machine has no package lists yet
                _must(["apt-get", "update", "-qq"], partial)
                _must(["apt-get", "download", "-qq", PACKAGE], partial)
            (package,) = partial.glob(f"{PACKAGE}_*.deb")
            _must(["dpkg-deb", "--extract", str(package), "unpacked"], partial)
            shutil.move(partial / "unpacked" / "usr" / "bin" / PACKAGE, partial / PACKAGE)
            shutil.rmtree(partial / "unpacked")
            package.unlink()
            if not folder.exists():  # else somebody else was faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder / PACKAGE


def _run(command: Sequence[str], folder: Path) -> str:
    """Nothing, or the end of the complaint."""
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    return (done.stdout + done.stderr)[-2000:] or "failed" if done.returncode else ""


def _must(command: Sequence[str], folder: Path) -> None:
    if complaint := _run(command, folder):
        raise LabError(f"{' '.join(command)}:\n{complaint}")
