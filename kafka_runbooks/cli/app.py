"""The `kafka-runbooks` command's entry point, and the list of its commands.

A command's module is imported when the command is used, so that help and shell completion answer at once.
"""

import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from kafka_runbooks.cli import runbook_commands
from kafka_runbooks.cli.lazy import LazyCommand, from_module

MODULES = (
    ("status", "status", "Show where a run is, its progress, time left, and why it waits."),
    ("list", "listing", "List runs, those in progress first."),
    ("approve", "decisions", "Approve the plan that waits at the gate. Only what is named is approved."),
    ("reject", "decisions", "Reject the plan that waits at the gate: the run cleans up and ends."),
    ("add-brokers", "decisions", "Let a replace-broker run bring more brokers back, behind a preflight and a gate of their own."),
    ("uncordon", "decisions", "Hand nodes back that a drain holds: what ran on them comes back."),
    ("pause", "decisions", "Pause before the next step. Data in flight still arrives, throttled."),
    ("resume", "decisions", "Resume after a pause."),
    ("abort", "decisions", "End a run: cancel what is in flight and clean up."),
    ("throttle", "throttle", "Override the throttle of a run in progress, and return it to automatic control."),
    ("schedules", "schedules", "Declare schedules of runbooks in a file, and apply it."),
    (
        "doctor",
        "doctor",
        "Check what a cluster's runbooks need: connections, rights, conventions. Each fault with what mends it.",
    ),
    ("setup", "setup", "Register the search attributes that `list` filters by."),
    ("topics", "topics", "Check topics' definitions, and write those of a cluster or of other tools' files. Changes nothing."),
    ("place", "place", "Plan which replica lives on which broker. Prints and writes plans; changes nothing."),
)
"""Commands by name: the module of `kafka_runbooks.cli` that has it, and its summary (the first sentence of its own help)."""


class Commands(TyperGroup):
    """Every command, none of them imported yet."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for group in runbook_commands.groups():
            self.add_command(group)
        for name, module, summary in MODULES:
            self.add_command(LazyCommand(name, summary, from_module(f"kafka_runbooks.cli.{module}", name)))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 120},
)


@app.callback()
def kafka_runbooks() -> None:
    """On-call runbooks for Kafka: start them, watch them, decide at the gate.

    Every command prints the `temporal` command that does the same, and connects as that does, by TEMPORAL_ADDRESS,
    TEMPORAL_NAMESPACE, TEMPORAL_PROFILE and its configuration file.

    Exit codes: 0 done, 1 failed, 2 bad input, 3 refused by preflight, 4 busy.
    """


def main() -> NoReturn:
    """Run the command, and end with `os._exit`.

    Threads of Temporal's SDK can abort the interpreter as it exits (sdk-python issue 300), and then a runbook that was started
    would look as if it had failed.
    """
    code = 0
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        print("\nno longer watching; the runbook continues", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
