"""docs/quickstart.md as what it says to do: its blocks, its table, and a shell to run its lines in."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kafka_runbooks.models import labels

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "quickstart.md").read_text()
SHOP = ROOT / "tests" / "lab" / "shop.yaml"
"""The cluster that the page is about, before step 6. Words between @ are filled in by whoever deploys it."""


def _section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def block(title: str, language: str = "") -> str:
    """The first block of a section that is in this language."""
    found = re.search(rf"^```{language}\n(.*?)^```", _section(title), re.DOTALL | re.MULTILINE)
    assert found is not None, f"{title!r} has no block"
    return found[1]


def lines(title: str) -> list[str]:
    """The lines of a section's first block of commands."""
    return block(title).splitlines()


def table() -> dict[str, tuple[str, str]]:
    """Runbook -> what it says without the agent, and with Strimzi."""
    rows = re.findall(r"^\| ([a-z-]+) \| (.+?) \| (.+?) \|$", _section("Without the agent, and with Strimzi"), re.MULTILINE)
    return {name: (without_agent, of_strimzi) for name, without_agent, of_strimzi in rows if name != "runbook"}


def filled_in(remedy: str) -> str:
    """A remedy of `doctor`'s, with the page's names in the place of what `doctor` can't know."""
    named = remedy.replace('"MAP"', '"main"').replace("ID-OF-ORDINAL-0", "100")
    return named.replace("statefulset NAME", f"statefulset {'shop-controller' if labels.ROLES in named else 'shop-kafka'}")


class Shell:
    """Where the page's lines are run: `kubectl` is the given command, `kafka-runbooks` this checkout's."""

    def __init__(self, folder: Path, kubectl: Sequence[str], **environment: str) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        (programs / "kubectl").write_text(f'#!/bin/sh\nexec {shlex.join(kubectl)} "$@"\n')
        (programs / "kubectl").chmod(0o755)
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = os.environ | {"PATH": path} | environment

    def attempt(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line, however it ends."""
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )

    def run(self, line: str) -> str:
        """Run a line that has to do what it is there for; what it printed."""
        done = self.attempt(line)
        assert done.returncode == 0, f"$ {line}\nexit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done.stdout
