"""Help and completion answer at once, since they import next to nothing; and completion completes."""

import os
import subprocess
import sys

import pytest

from kafka_runbooks.catalogue import RUNBOOKS, command_name

SLOW = ("numpy", "highspy", "temporalio", "kafka", "confluent_kafka", "kubernetes", "kazoo", "httpx")
"""Packages that take long to import."""

PROGRAM = """
import sys
from kafka_runbooks.cli.app import app
try:
    app(sys.argv[1:], prog_name="kafka-runbooks")
except SystemExit as end:
    if end.code:
        raise
print("imported:", *{name.partition(".")[0] for name in sys.modules}, *sys.modules, file=sys.stderr)
"""


def run(*argv: str, **environment: str) -> tuple[str, set[str]]:
    """The output, and the modules that were imported for it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *argv], capture_output=True, text=True, env={**os.environ, **environment}, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.rpartition("imported:")[2].split())


@pytest.mark.parametrize(
    ("argv", "more"),
    [
        (("--help",), ("rich", "pydantic")),
        (("start", "--help"), ("rich", "kafka_runbooks.models.inputs")),
        (("start", "replace-broker", "--help"), ("rich",)),
        (("plan", "Rebalance", "--help"), ("rich",)),
        (("schema", "scale-up"), ("rich",)),
        (("schema", "topics"), ("rich",)),
        (("topics", "check", "--help"), ()),
    ],
)
def test_help_imports_nothing_slow(argv: tuple[str, ...], more: tuple[str, ...]) -> None:
    output, imported = run(*argv)
    assert output
    assert not imported & {*SLOW, *more}


def complete(line: str) -> tuple[list[str], set[str]]:
    """What a shell offers for the last word of a line, by typer's protocol for bash."""
    words = line.split(" ")
    output, imported = run(
        _KAFKA_RUNBOOKS_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), _TYPER_COMPLETE_TESTING="1"
    )
    return output.splitlines(), imported


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("kafka-runbooks st", ["start", "status"]),
        ("kafka-runbooks start re", ["replace-broker", "rebalance", "restart-ensemble"]),
        ("kafka-runbooks start ", [command_name(name) for name in RUNBOOKS]),
        ("kafka-runbooks plan ", [command_name(name) for name, runbook in RUNBOOKS.items() if runbook.plan_model]),
        ("kafka-runbooks start replace-broker --broker", ["--broker-id"]),
        ("kafka-runbooks start ReplaceBroker --node-state r", ["returns"]),
        ("kafka-runbooks start replace-broker --throttle.mode ", ["fixed", "adapt"]),
    ],
)
def test_completion(line: str, offered: list[str]) -> None:
    found, imported = complete(line)
    assert found == offered
    assert not imported & {*SLOW, "rich"}


@pytest.mark.parametrize("line", ["kafka-runbooks list --runbook sc", "kafka-runbooks throttle s"])
def test_completion_in_commands_with_modules_of_their_own(line: str) -> None:
    assert complete(line)[0] == [{"sc": "scale-up", "s": "set"}[line.split()[-1]]]


def test_completion_can_be_shown_and_installed() -> None:
    output, _ = run("--help")
    assert "--install-completion" in output and "--show-completion" in output
