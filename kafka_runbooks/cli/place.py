"""`kafka-runbooks place …`: plan on a snapshot file or a live cluster, print what it does, write what Kafka's own tool takes.

Nothing here changes a cluster. Every map and every step is checked by the independent checker before a line of it is printed.
Exit codes: 0 a plan (or nothing to do), 1 no valid plan exists or a reassignment is in progress, 2 bad input.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from kafka_runbooks.cli import place_inputs, place_output
from kafka_runbooks.placement import planners
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest, PlacementError
from kafka_runbooks.placement.plan import Plan

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Plan which replica lives on which broker. Prints and writes plans; changes nothing.",
)


class Level(StrEnum):
    UTILISATION = "utilisation"
    USED_BYTES = "used-bytes"
    REPLICA_COUNT = "replica-count"
    BYTES_IN = "bytes-in"
    BYTES_OUT = "bytes-out"


class Leaders(StrEnum):
    BALANCE = "balance"
    KEEP = "keep"


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True)
class Common:
    """Options of every planner."""

    snapshot: Annotated[Path | None, typer.Option(help="Cluster snapshot, JSON or gzipped JSON; - for standard input.")] = None
    bootstrap: Annotated[str | None, typer.Option(help="Bootstrap servers of a live cluster, instead of --snapshot.")] = None
    capacity_bytes: Annotated[
        int, typer.Option(min=0, help="With --bootstrap: disk capacity of every broker. 0: as the brokers tell (Kafka >= 3.3).")
    ] = 0
    topics: Annotated[str | None, typer.Option(help="Comma list of names or anchored regexes. Default: all.")] = None
    topics_exclude: Annotated[str, typer.Option(help="Comma list of names or anchored regexes.")] = ""
    maps: Annotated[Path | None, typer.Option(help="YAML of maps: topic regex to brokers, or to instances of a type.")] = None
    level: Annotated[Level, typer.Option(help="What is to be level.")] = Level.UTILISATION
    min_racks: Annotated[int, typer.Option(min=0, help="Racks a set must span. 0: as many as it can; 1: any.")] = 0
    leaders: Annotated[Leaders, typer.Option(help="keep: only lost preferred leaders change.")] = Leaders.BALANCE
    on_target: Annotated[bool, typer.Option(help="Plan on the target of reassignments in progress.")] = False
    size_factor: Annotated[float, typer.Option(min=0.0, help="Plan as if partitions were this much larger.")] = 1.0
    max_moved_bytes: Annotated[int | None, typer.Option(min=0, help="Bytes that levelling may copy, forced ones included.")] = (
        None
    )
    target_spread: Annotated[float | None, typer.Option(min=0.0, help="Spread above the best possible one.")] = None
    within_racks: Annotated[bool, typer.Option(help="Moves that need not cross racks don't.")] = False
    smallest_moved_bytes: Annotated[int, typer.Option(min=0, help="Smaller partitions are not moved to level.")] = 0
    prove: Annotated[bool, typer.Option(help="Small clusters: the best possible spread exactly.")] = False
    phased: Annotated[bool, typer.Option(help="Two maps: the old leader stays in front while copies run.")] = False
    step_bytes: Annotated[int | None, typer.Option(min=1, help="Cut into steps of so many bytes per broker.")] = None
    step_moves: Annotated[int | None, typer.Option(min=1, help="Cut into steps of so many moves per broker.")] = None
    step_brokers: Annotated[int | None, typer.Option(min=1, help="Cut into steps that empty so many brokers at a time.")] = None
    out_path: Annotated[Path | None, typer.Option(help="Folder for one map per topic.")] = None
    out_file: Annotated[str | None, typer.Option(help="Name of a combined map, in --out-path or here.")] = None
    whole: Annotated[bool, typer.Option(help="Unchanged partitions too.")] = False
    output: Annotated[Format, typer.Option("--output", "-o", help="What to print.")] = Format.TABLE
    changes: Annotated[int, typer.Option(min=0, help="Changed partitions to list. 0: all.")] = 50
    plot: Annotated[Path | None, typer.Option(help="Utilisation before and after, .png or .svg.")] = None


def _command(name: str) -> Callable[[Callable[..., Plan]], Callable[..., None]]:
    """Register `plan(cluster, options, common, …)` with its own parameters followed by the common ones."""

    def register(plan: Callable[..., Plan]) -> Callable[..., None]:
        own = list(inspect.signature(plan).parameters.values())[3:]
        hints = get_type_hints(Common, include_extras=True)
        shared = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default if field.default is not MISSING else inspect.Parameter.empty,
                annotation=hints[field.name],
            )
            for field in fields(Common)
        ]

        def run(**values: Any) -> None:
            common = Common(**{field.name: values.pop(field.name) for field in fields(Common)})
            try:
                cluster = place_inputs.observe(common.snapshot, common.bootstrap, common.capacity_bytes)
                made = plan(cluster, place_inputs.options(cluster, common), common, **values)
                place_output.emit(made, common)
            except InvalidRequest as error:
                _stop(error, 2)
            except PlacementError as error:
                _stop(error, 1)

        own_hints = get_type_hints(plan, include_extras=True)
        run.__name__ = plan.__name__
        run.__doc__ = plan.__doc__
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own_hints[p.name]) for p in own]
        run.__signature__ = inspect.Signature([*keyword, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*keyword, *shared)}
        app.command(name)(run)
        return run

    return register


def _stop(error: PlacementError, code: int) -> None:
    typer.echo(str(error), err=True)
    raise typer.Exit(code)


def _ids(text: str, field: str) -> list[int]:
    try:
        return [int(item) for item in text.split(",") if item.strip()]
    except ValueError as error:
        raise InvalidRequest(f"{field}: {text!r} is no comma list of broker ids") from error


Brokers = Annotated[
    str | None, typer.Option(help="Comma list of broker ids; -1: all in the map, -2: all. Default: all live ones.")
]


def _targets(cluster: Cluster, brokers: str | None) -> list[int] | None:
    if brokers is None:
        return None
    ids = _ids(brokers, "--brokers")
    return None if planners.ALL_KNOWN in ids else [b for b in ids if b != planners.ALL_MAPPED] + place_inputs.mapped(cluster, ids)


@app.command("version")
def show_version() -> None:
    """The version of kafka-runbooks."""
    typer.echo(version("kafka-runbooks"))


@_command("rebuild")
def rebuild(
    cluster: Cluster,
    options: planners.Options,
    common: Common,
    brokers: Annotated[str, typer.Option(help="Comma list of broker ids; -1: all in the map, -2: all in the cluster.")],
    replication: Annotated[int, typer.Option(min=0, help="Replication factor; 0: as it is.")] = 0,
    force: Annotated[bool, typer.Option(help="Level everything, not only what must move.")] = False,
    sub_affinity: Annotated[bool, typer.Option(help="Each leaving broker gets one new broker of its rack in its place.")] = False,
) -> Plan:
    """Bring topics onto a list of brokers."""
    if force and sub_affinity:
        raise InvalidRequest("--force and --sub-affinity contradict each other: one levels, the other keeps the layout")
    return planners.rebuild(
        cluster, _ids(brokers, "--brokers"), options, replication=replication or None, force=force, substitute=sub_affinity
    )


@_command("replace")
def replace(
    cluster: Cluster,
    options: planners.Options,
    common: Common,
    leaving: Annotated[str, typer.Option(help="Comma list of brokers to empty, dead or alive.")],
    replacements: Annotated[str | None, typer.Option(help="Comma list of their substitutes, for --sub-affinity.")] = None,
    sub_affinity: Annotated[bool, typer.Option(help="Each substitute takes over exactly one broker's replicas.")] = False,
) -> Plan:
    """Move everything off brokers that are to be replaced: their bytes, and no more."""
    new = None if replacements is None else _ids(replacements, "--replacements")
    return planners.replace_brokers(cluster, _ids(leaving, "--leaving"), new, options, substitute=sub_affinity)


@_command("rebalance")
def rebalance(
    cluster: Cluster,
    options: planners.Options,
    common: Common,
    brokers: Brokers = None,
    frontier: Annotated[Path | None, typer.Option(help="Plot bytes over spread, .png or .svg.")] = None,
) -> Plan:
    """Level brokers with the fewest bytes."""
    targets = _targets(cluster, brokers)
    if frontier is not None:
        place_output.plot_frontier(cluster, options, targets, frontier)
    return planners.rebalance(cluster, options, targets)


@_command("scale")
def scale(
    cluster: Cluster,
    options: planners.Options,
    common: Common,
    new: Annotated[str, typer.Option(help="Comma list of brokers that hold nothing yet.")],
    brokers: Brokers = None,
) -> Plan:
    """Bring new brokers to the level of the others."""
    return planners.scale_up(cluster, _ids(new, "--new"), options, _targets(cluster, brokers))


@_command("decommission")
def decommission(
    cluster: Cluster,
    options: planners.Options,
    common: Common,
    leaving: Annotated[str, typer.Option(help="Comma list of brokers that leave for good.")] = "",
    rack: Annotated[str | None, typer.Option(help="A rack that leaves.")] = None,
) -> Plan:
    """Empty several brokers, or a rack, at once."""
    return planners.decommission(cluster, _ids(leaving, "--leaving"), options, rack=rack)


@_command("set-rf")
def set_rf(
    cluster: Cluster,
    options: planners.Options,
    common: Common,
    replication: Annotated[int, typer.Option(min=1, help="Replication factor.")],
    brokers: Brokers = None,
) -> Plan:
    """Set the replication factor."""
    return planners.set_replication(cluster, replication, options, _targets(cluster, brokers))


@_command("leaders")
def leaders(
    cluster: Cluster,
    options: planners.Options,
    common: Common,
    by_share: Annotated[bool, typer.Option(help="In proportion to replicas held, instead of alike.")] = False,
) -> Plan:
    """Balance preferred leaders; nothing is copied."""
    return planners.balance_leaders(cluster, options, by_share=by_share)


@_command("evacuate")
def evacuate(
    cluster: Cluster,
    options: planners.Options,
    common: Common,
    brokers: Annotated[str, typer.Option(help="Comma list of brokers that must not lead.")],
) -> Plan:
    """Take preferred leadership off brokers; nothing is copied."""
    return planners.evacuate_leaders(cluster, _ids(brokers, "--brokers"), options)


@_command("spread")
def spread(cluster: Cluster, options: planners.Options, common: Common, brokers: Brokers = None) -> Plan:
    """Each topic's replicas evenly over the brokers."""
    return planners.spread_topics(cluster, options, _targets(cluster, brokers))
