"""What tests of real servers need of Debian: installed where it is missing, as on a fresh machine; never skipped."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LOCK = Path(__file__).parents[2] / "build" / "tests.lock"
PACKAGES = {
    "java": "openjdk-17-jre-headless",
    "mvn": "maven",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
}


def need(*commands: str) -> None:
    """Install the packages of those commands that aren't on the PATH."""
    with alone():
        missing = [PACKAGES[command] for command in commands if not shutil.which(command)]
        if missing:
            apt("update", "-qq")
            apt("install", "-qq", "-y", "--no-install-recommends", *missing)


def jars(pom: Path, folder: Path, one_of_them: str) -> Path:
    """The folder of the jars that a POM lists; asked of Maven once a checkout.

    Args:
        pom: the list.
        folder: where they go.
        one_of_them: a pattern; a folder with one is complete.
    """
    need("java", "mvn")
    with alone():
        if not any(folder.glob(one_of_them)):
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
            subprocess.run(["mvn", "-q", "-B", "-f", str(pom), *goal], check=True, stdin=subprocess.DEVNULL, timeout=300)
    return folder


@contextmanager
def alone() -> Iterator[None]:
    """One process of the tests at a time: neither apt nor Maven likes another one beside it."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def apt(*arguments: str, folder: Path | None = None) -> None:
    """apt-get, quietly; what it complains of is the error's text."""
    run(["apt-get", *arguments], folder)


def run(command: Sequence[str], folder: Path | None = None) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-2000:]}")
