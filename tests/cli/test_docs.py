"""Documented commands exist: every example in the documentation parses, and docs/cli.md has every command."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from kafka_runbooks.cli import app
from kafka_runbooks.cli.lazy import LazyCommand, from_module

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def whole(command: Any) -> Any:
    return whole(command.load()) if isinstance(command, LazyCommand) else command


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that help lists, by the words that lead to it."""
    command = whole(command)
    yield path, command
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            if not below.hidden:
                yield from commands(below, (*path, name))


def examples(page: Path) -> list[str]:
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.removeprefix("$ ").startswith("kafka-runbooks ")]


def faults(line: str) -> Iterator[str]:
    """What an example names that doesn't exist."""
    command = get_command(app.app)
    for word in shlex.split(line, comments=True)[1:]:
        if isinstance(command, TyperGroup) and not word.startswith("-"):
            for name in word.split("|"):
                if name not in command.commands:
                    yield f"{line}: there is no command {name}"
                    return
            command = whole(command.commands[name])
        elif word.strip("[]").startswith("-") and word != "--help":
            flag = word.strip("[]").partition("=")[0]
            flags = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
            if flag not in flags and sum(name.startswith(flag) for name in flags) != 1:
                yield f"{line}: there is no option {flag}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_name_commands_and_options_that_exist(page: Path) -> None:
    assert [fault for line in examples(page) for fault in faults(line)] == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("kafka-runbooks janitor lab", "no command janitor"),
        ("kafka-runbooks start replace-broker --brokr-id 1", "no option --brokr-id"),
        ("kafka-runbooks start replace-broker --throttle.f 1", "no option --throttle.f"),
        ("kafka-runbooks pause|resum ID", "no command resum"),
    ],
)
def test_the_check_finds_what_does_not_exist(line: str, fault: str) -> None:
    assert [found for found in faults(line) if fault in found]


def test_the_page_has_every_command_with_its_summary() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    listed = dict(re.findall(r"^\| \[`([a-z-]+)`\]\(.*?\) \| (.*) \|$", text, re.MULTILINE))
    root = get_command(app.app)
    assert isinstance(root, TyperGroup)
    assert listed == {name: command.help for name, command in root.commands.items()}
    shown = "\n".join(examples(ROOT / "docs" / "cli.md"))
    for path, command in commands(root):
        if not isinstance(command, TyperGroup) and path[0] not in ("start", "plan", "link", "schema", "place"):
            assert f"kafka-runbooks {' '.join(path)}" in shown


def test_a_command_s_summary_is_the_first_line_of_its_help() -> None:
    for name, module, summary in app.MODULES:
        command = whole(LazyCommand(name, summary, from_module(f"kafka_runbooks.cli.{module}", name)))
        assert (command.help or "").startswith(summary), name


def test_help_of_every_command() -> None:
    for path, command in commands(get_command(app.app)):
        with command.make_context(" ".join(path), [], resilient_parsing=True) as context:
            assert "--help" in command.get_help(context)
