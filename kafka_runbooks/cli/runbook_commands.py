"""`start`, `plan`, `link` and `schema`: groups with a command for each runbook, with options made of its input's fields.

A new runbook needs no edit here. Listings take names and sentences from the catalogue; a runbook's models are imported when its
command is parsed, and Temporal's SDK when it runs.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from kafka_runbooks.catalogue import RUNBOOKS, Runbook, command_name
from kafka_runbooks.cli.exits import BAD_INPUT, fail
from kafka_runbooks.cli.lazy import LazyCommand
from kafka_runbooks.cli.parameters import Format, OutputOption, typer_app

if TYPE_CHECKING:
    from typer._click import Command, Context

    from kafka_runbooks.cli.options import Option

InputOption = Annotated[
    str | None,
    typer.Option("--input", help="The input as JSON, or @FILE. Other options win over its fields.", metavar="<JSON|@FILE>"),
]
IdOption = Annotated[str | None, typer.Option("--id", help="Workflow ID. [default: CLUSTER/RUNBOOK/TARGET-TIME]")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Watch the run until it ends; the exit code says how it ended.")]
ExpiresOption = Annotated[
    str, typer.Option("--expires", help="How long the link is valid: 30m, 4h, 2d; at most 7d.", metavar="<TIME>")
]

TOPICS, TOPICS_SUMMARY = "topics", "Topics' definitions, for editors."
REQUESTER = ("requester",)
"""The field that defaults to the user's name on the command line."""


class AbbreviatingCommand(TyperCommand):
    """A command whose long options may be shortened as long as they stay unambiguous: `--throttle.rate`."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if ctx.resilient_parsing else [self._whole(argument) for argument in args])

    def _whole(self, argument: str) -> str:
        flag, equals, value = argument.partition("=")
        known = [name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)]
        if not flag.startswith("--") or flag == "--" or flag in known:
            return argument
        matches = [name for name in known if name.startswith(flag)]
        if len(matches) > 1:
            raise typer.BadParameter(f"{flag} is short for several options: {', '.join(matches)}")
        return f"{matches[0]}{equals}{value}" if matches else argument


def _start_command(name: str) -> "Command":
    from kafka_runbooks.cli import options

    known = options.of(RUNBOOKS[name].input)

    def start(
        input: InputOption = None,
        id: IdOption = None,
        wait: WaitOption = False,
        output: OutputOption = Format.TEXT,
        **typed: Any,
    ) -> None:
        from kafka_runbooks.cli import runs

        runs.start(name, runs.validated(name, known, input, typed), id, wait=wait, output=output)

    return _command(name, start, known)


def _plan_command(name: str) -> "Command":
    if RUNBOOKS[name].plan_model is None:
        fail(BAD_INPUT, f"{command_name(name)} has no plan: it acts on what it finds when it runs")
    from kafka_runbooks.cli import options

    known = options.of(RUNBOOKS[name].input)

    def plan(input: InputOption = None, output: OutputOption = Format.TEXT, **typed: Any) -> None:
        from kafka_runbooks.cli import runs

        runs.plan(name, runs.validated(name, known, input, typed), output=output)

    return _command(name, plan, known)


def _link_command(name: str) -> "Command":
    from kafka_runbooks.cli import options

    known = options.of(RUNBOOKS[name].input)

    def link(input: InputOption = None, expires: ExpiresOption = "4h", output: OutputOption = Format.TEXT, **typed: Any) -> None:
        from kafka_runbooks.cli import runs
        from kafka_runbooks.cli.link import link as print_link

        print_link(name, runs.validated(name, known, input, typed), expires, output)

    return _command(name, link, known)


def _schema_command(name: str) -> "Command":
    def schema() -> None:
        import json

        print(json.dumps(RUNBOOKS[name].input.model_json_schema(), indent=2))

    return _command(name, schema, ())


def _command(name: str, function: Callable[..., None], options: "Sequence[Option]") -> "Command":
    """The function as a command: the model's options, then its own."""
    own = [one for one in inspect.signature(function).parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters = [
        *(
            inspect.Parameter(one.parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(one))
            for one in options
        ),
        *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own),
    ]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {one.name: one.annotation for one in parameters}
    app = typer_app()
    summary = inspect.cleandoc(RUNBOOKS[name].input.__doc__ or "")
    app.command(name, cls=AbbreviatingCommand, help=summary)(function)
    return get_group(app).commands[name]


def _annotation(option: "Option") -> Any:
    help = option.help
    if option.path == REQUESTER:
        help = help.replace("[required]", "[default: your user name]")
    kind: Any = bool if option.kind is bool else list[str] if option.is_repeated else str
    choices = list(option.choices)
    return Annotated[
        kind | None,
        typer.Option(
            option.declaration,
            help=help,
            metavar=None if kind is bool else option.metavar,
            show_default=False,
            autocompletion=(lambda incomplete: [one for one in choices if one.startswith(incomplete)]) if choices else None,
        ),
    ]


def _group(
    name: str, summary: str, load: "Callable[[str], Command]", *, is_listed: Callable[[Runbook], bool] = lambda _: True
) -> TyperGroup:
    """A group with a command for each runbook, under its command's name and, not listed, under the workflow type's."""
    group = TyperGroup(
        name=name, help=summary, no_args_is_help=True, rich_markup_mode=None, subcommand_metavar="RUNBOOK [OPTIONS]"
    )
    for runbook_name, runbook in RUNBOOKS.items():
        loader = partial(load, runbook_name)
        is_hidden = not is_listed(runbook)
        group.add_command(LazyCommand(command_name(runbook_name), runbook.sentence, loader, hidden=is_hidden))
        group.add_command(LazyCommand(runbook_name, runbook.sentence, loader, hidden=True))
    return group


def _topics_schema_command() -> "Command":
    def schema() -> None:
        import json

        from kafka_runbooks.topics.schema import topics

        print(json.dumps(topics(), indent=2))

    app = typer_app()
    app.command(TOPICS, help=TOPICS_SUMMARY)(schema)
    return get_group(app).commands[TOPICS]


def groups() -> tuple[TyperGroup, ...]:
    """`start`, `plan`, `link` and `schema`."""
    schema = _group("schema", "Print the JSON schema of a runbook's input, or of topics' definitions.", _schema_command)
    schema.add_command(LazyCommand(TOPICS, TOPICS_SUMMARY, _topics_schema_command))
    return (
        _group("start", "Start a runbook.", _start_command),
        _group(
            "plan",
            "Show what a runbook would do, and every reason not to start it. Changes nothing.",
            _plan_command,
            is_listed=lambda runbook: runbook.plan_model is not None,
        ),
        _group("link", "Print a signed, expiring link to a runbook on the page, for an incident.", _link_command),
        schema,
    )
