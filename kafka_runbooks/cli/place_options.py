"""Options that all `place` commands share, and how a dataclass of options becomes command-line flags.

Nothing here imports placement: help must not cost an import of numpy.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kafka_runbooks.models.placement import MAX_UTILISATION


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
    kafka_config: Annotated[
        Path | None, typer.Option(help="With --bootstrap: YAML that says how to connect, as `security` of a clusters file.")
    ] = None
    capacity_bytes: Annotated[
        int, typer.Option(min=0, help="With --bootstrap: disk capacity of every broker. 0: as brokers report (Kafka >= 3.3).")
    ] = 0
    topics: Annotated[str | None, typer.Option(help="Comma list of names or anchored regexes. Default: all.")] = None
    topics_exclude: Annotated[str, typer.Option(help="Comma list of names or anchored regexes.")] = ""
    maps: Annotated[Path | None, typer.Option(help="YAML of maps: topic regex to brokers, or to instances of a type.")] = None
    level: Annotated[Level, typer.Option(help="What to balance.")] = Level.UTILISATION
    min_racks: Annotated[int, typer.Option(min=0, help="Racks a set must span. 0: as many as it can; 1: any.")] = 0
    leaders: Annotated[Leaders, typer.Option(help="keep: only lost preferred leaders change.")] = Leaders.BALANCE
    on_target: Annotated[bool, typer.Option(help="Plan on the target of reassignments in progress.")] = False
    size_factor: Annotated[float, typer.Option(min=0.0, help="Plan as if partitions were larger by this factor.")] = 1.0
    max_moved_bytes: Annotated[
        int | None, typer.Option(min=0, help="Upper limit on bytes copied to balance, forced ones included.")
    ] = None
    target_spread: Annotated[float | None, typer.Option(min=0.0, help="Spread above the best possible one.")] = None
    max_utilisation: Annotated[
        float, typer.Option(help="How full a plan may make a disk, as a share of its capacity; a fuller one gets nothing.")
    ] = MAX_UTILISATION
    within_racks: Annotated[bool, typer.Option(help="Moves stay inside a rack unless they must leave it.")] = False
    smallest_moved_bytes: Annotated[int, typer.Option(min=0, help="Smaller partitions are not moved to balance.")] = 0
    prove: Annotated[bool, typer.Option(help="Small clusters: compute the best possible spread exactly.")] = False
    phased: Annotated[bool, typer.Option(help="Two maps: the old leader stays in front while copies run.")] = False
    step_bytes: Annotated[int | None, typer.Option(min=1, help="Split into steps of at most N bytes per broker.")] = None
    step_moves: Annotated[int | None, typer.Option(min=1, help="Split into steps of at most N moves per broker.")] = None
    step_brokers: Annotated[int | None, typer.Option(min=1, help="Split into steps that empty N brokers at a time.")] = None
    out_path: Annotated[Path | None, typer.Option(help="Folder for one map per topic.")] = None
    out_file: Annotated[str | None, typer.Option(help="Name of a combined map, in --out-path or here.")] = None
    whole: Annotated[bool, typer.Option(help="Write unchanged partitions too.")] = False
    output: Annotated[Format, typer.Option("--output", "-o", help="What to print.")] = Format.TABLE
    changes: Annotated[int, typer.Option(min=0, help="Changed partitions to list. 0: all.")] = 50
    plot: Annotated[Path | None, typer.Option(help="Utilisation before and after, .png or .svg.")] = None


def with_common(run: Callable[..., None], own: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """A function for typer with a command's own parameters followed by those of `Common`.

    Args:
        run: called with a `Common` and the command's own values.
        own: the command's own parameters, annotated for typer.
    """

    def command(**values: Any) -> None:
        run(Common(**{field.name: values.pop(field.name) for field in fields(Common)}), **values)

    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(Common)
    ]
    parameters = [*(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own), *shared]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
