"""`kafka-runbooks place …`: plan on a snapshot file or a live cluster, print the plan, write maps for Kafka's own tool.

Nothing here changes a cluster. Every map and every step is verified independently before anything is printed.
Exit codes: 0 a plan (or nothing to do), 1 no valid plan exists or a reassignment is in progress, 2 bad input.

Placement, and numpy with it, is imported only when a command runs: `placement` below resolves its names on first use.
"""

import inspect
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from kafka_runbooks import placement
from kafka_runbooks.cli.exits import BAD_INPUT, FAILED, fail
from kafka_runbooks.cli.place_options import Common, with_common
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.security.files import BadFile
from kafka_runbooks.placement.errors import InvalidRequest, PlacementError, PlannerDefect
from kafka_runbooks.runs.validation import BadInput

MOST_BROKER_ID = 2**31 - 1

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Plan which replica lives on which broker. Prints and writes plans; changes nothing.",
)


def _command(name: str) -> Callable[[Callable[..., "placement.Plan"]], Callable[..., "placement.Plan"]]:
    """Register `plan(cluster, options, …)` as a command with its own parameters followed by the common ones."""

    def register(plan: Callable[..., "placement.Plan"]) -> Callable[..., "placement.Plan"]:
        def run(common: Common, **own: Any) -> None:
            from kafka_runbooks.cli import place_inputs, place_output

            try:
                frontier = own.get("frontier")
                place_output.require_plot(common.plot, "--plot")
                place_output.require_plot(frontier, "--frontier")
                cluster = place_inputs.observe(common)
                options = place_inputs.options(cluster, common)
                made = plan(cluster, options, **own)
                plots = {}
                if frontier is not None:
                    plots[frontier] = place_output.frontier_plot(cluster, options, _targets(cluster, own["brokers"]))
                place_output.emit(made, common, plots)
            except (BadInput, InvalidRequest) as error:
                fail(BAD_INPUT, str(error))
            except PlacementError as error:
                fail(FAILED, str(error))
            except BadFile as error:
                fail(BAD_INPUT, f"--kafka-config {common.kafka_config}: {error}")
            except ClientError as error:
                fail(FAILED, f"--bootstrap {common.bootstrap}: the cluster can't be read: {error}")
            except PlannerDefect as error:
                fail(FAILED, f"a defect of this program, nothing was written: {error}")

        parameters = list(inspect.signature(plan).parameters.values())
        app.command(name, help=plan.__doc__)(with_common(run, parameters[2:]))
        return plan

    return register


def _ids(text: str, field: str) -> list[int]:
    try:
        found = [int(item) for item in text.split(",") if item.strip()]
    except ValueError as error:
        raise InvalidRequest(f"{field}: {text!r} is no comma list of broker ids") from error
    if wrong := [broker for broker in found if not -2 <= broker <= MOST_BROKER_ID]:
        raise InvalidRequest(f"{field}: {wrong[0]} is no broker id (0 to {MOST_BROKER_ID})")
    return found


Brokers = Annotated[
    str | None, typer.Option(help="Comma list of broker ids; -1: all in the map, -2: all. Default: all live ones.")
]


def _targets(cluster: "placement.Cluster", brokers: str | None) -> list[int] | None:
    from kafka_runbooks.cli import place_inputs

    return None if brokers is None else place_inputs.targets(cluster, _ids(brokers, "--brokers"))


@app.command("version")
def show_version() -> None:
    """The version of kafka-runbooks."""
    typer.echo(version("kafka-runbooks"))


@_command("rebuild")
def rebuild(
    cluster: "placement.Cluster",
    options: "placement.Options",
    brokers: Annotated[str, typer.Option(help="Comma list of broker ids; -1: all in the map, -2: all in the cluster.")],
    replication: Annotated[int, typer.Option(min=0, help="Replication factor; 0: as it is.")] = 0,
    force: Annotated[bool, typer.Option(help="Balance everything, not only what must move.")] = False,
    sub_affinity: Annotated[bool, typer.Option(help="Each leaving broker gets one new broker of its rack in its place.")] = False,
) -> "placement.Plan":
    """Bring topics onto a list of brokers."""
    if force and sub_affinity:
        raise InvalidRequest("--force and --sub-affinity contradict each other: one balances, the other keeps the layout")
    return placement.planners.rebuild(
        cluster, _ids(brokers, "--brokers"), options, replication=replication or None, force=force, substitute=sub_affinity
    )


@_command("replace")
def replace(
    cluster: "placement.Cluster",
    options: "placement.Options",
    leaving: Annotated[str, typer.Option(help="Comma list of brokers to empty, dead or alive.")],
    replacements: Annotated[str | None, typer.Option(help="Comma list of their substitutes, for --sub-affinity.")] = None,
    sub_affinity: Annotated[bool, typer.Option(help="Each substitute takes over exactly one broker's replicas.")] = False,
) -> "placement.Plan":
    """Move everything off brokers that are to be replaced: their bytes, and no more."""
    new = None if replacements is None else _ids(replacements, "--replacements")
    return placement.planners.replace_brokers(cluster, _ids(leaving, "--leaving"), new, options, substitute=sub_affinity)


@_command("rebalance")
def rebalance(
    cluster: "placement.Cluster",
    options: "placement.Options",
    brokers: Brokers = None,
    frontier: Annotated[Path | None, typer.Option(help="Plot bytes over spread, .png or .svg.")] = None,
) -> "placement.Plan":
    """Balance brokers with the fewest bytes."""
    del frontier  # Drawn by the caller, together with what every command writes.
    return placement.planners.rebalance(cluster, options, _targets(cluster, brokers))


@_command("scale")
def scale(
    cluster: "placement.Cluster",
    options: "placement.Options",
    new: Annotated[str, typer.Option(help="Comma list of brokers that hold nothing yet.")],
    brokers: Brokers = None,
) -> "placement.Plan":
    """Give new brokers their share."""
    return placement.planners.scale_up(cluster, _ids(new, "--new"), options, _targets(cluster, brokers))


@_command("decommission")
def decommission(
    cluster: "placement.Cluster",
    options: "placement.Options",
    leaving: Annotated[str, typer.Option(help="Comma list of brokers that leave for good.")] = "",
    rack: Annotated[str | None, typer.Option(help="A rack that leaves.")] = None,
) -> "placement.Plan":
    """Empty several brokers, or a rack, at once."""
    return placement.planners.decommission(cluster, _ids(leaving, "--leaving"), options, rack=rack)


@_command("set-rf")
def set_rf(
    cluster: "placement.Cluster",
    options: "placement.Options",
    replication: Annotated[int, typer.Option(min=1, help="Replication factor.")],
    brokers: Brokers = None,
) -> "placement.Plan":
    """Set the replication factor."""
    return placement.planners.set_replication(cluster, replication, options, _targets(cluster, brokers))


@_command("leaders")
def leaders(
    cluster: "placement.Cluster",
    options: "placement.Options",
    by_share: Annotated[bool, typer.Option(help="In proportion to replicas held, instead of equally many.")] = False,
) -> "placement.Plan":
    """Balance preferred leaders; nothing is copied."""
    return placement.planners.balance_leaders(cluster, options, by_share=by_share)


@_command("evacuate")
def evacuate(
    cluster: "placement.Cluster",
    options: "placement.Options",
    brokers: Annotated[str, typer.Option(help="Comma list of brokers that must not lead.")],
) -> "placement.Plan":
    """Take preferred leadership off brokers; nothing is copied."""
    return placement.planners.evacuate_leaders(cluster, _ids(brokers, "--brokers"), options)


@_command("spread")
def spread(cluster: "placement.Cluster", options: "placement.Options", brokers: Brokers = None) -> "placement.Plan":
    """Each topic's replicas evenly over the brokers."""
    return placement.planners.spread_topics(cluster, options, _targets(cluster, brokers))
