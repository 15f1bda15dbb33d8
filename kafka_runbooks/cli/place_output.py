"""What `place` prints and writes: topicmappr's sections as tables, one JSON object, plots, maps for Kafka's own tool."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from kafka_runbooks.cli import topicmappr
from kafka_runbooks.cli.place_files import Writer, stems, write_all
from kafka_runbooks.cli.place_options import Common
from kafka_runbooks.models.placement import BrokerLoad, PartitionAssignment, PlacementSummary, ReassignmentMap
from kafka_runbooks.placement import planners, verify
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.batches import Batch, Limits, cut, phases
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners.frontier import frontier, lower_curve

GB = 1 << 30
"""topicmappr's GB."""


def emit(plan: Plan, common: Common, plots: Mapping[Path, Writer]) -> None:
    """Verify, write and print a plan.

    Args:
        plan: the plan.
        common: options of every planner.
        plots: further files to write, each with what writes it.
    """
    steps = _steps(plan, common)
    verify.check(plan, steps, leader_first=common.phased)
    summary = plan.summary()
    maps = _maps(plan, steps, common)
    files: dict[Path, Writer] = {path: _writer(made) for path, made in maps.items()}
    if common.plot is not None:
        files[common.plot] = partial(plot, summary)
    write_all({**files, **plots})
    written = [str(path) for path in maps]
    if common.output == "json":
        print(json.dumps(_as_json(plan, summary, steps, written)))
        return
    show(Console(), plan, summary, steps, written, common.changes)


def _writer(made: ReassignmentMap) -> Writer:
    return lambda path: path.write_text(made.model_dump_json(exclude_none=True) + "\n")


def _steps(plan: Plan, common: Common) -> list[Batch]:
    limits = Limits(common.step_bytes, common.step_moves, common.step_brokers)
    if common.phased:
        if limits != Limits():
            raise InvalidRequest("--phased: cut into steps or into phases, not both")
        return phases(plan.cluster, plan.before, plan.after)
    if limits == Limits():
        return []
    return cut(plan.cluster, plan.before, plan.after, limits)


def _maps(plan: Plan, steps: list[Batch], common: Common) -> dict[Path, ReassignmentMap]:
    """Maps per topic and combined, phases or steps numbered from 0, each with its rollback.

    Raises:
        InvalidRequest: the combined map has the name of a topic's.
    """
    if common.out_path is None and common.out_file is None:
        return {}
    folder = common.out_path or Path()
    word = "phase" if common.phased else "step"
    made: list[tuple[str, ReassignmentMap]] = [("", plan.reassignment(whole=common.whole)), ("@rollback", plan.rollback())]
    for number, step in enumerate(steps):
        made += [(f"@{word}{number}", step.reassignment()), (f"@{word}{number}-rollback", step.inverse())]
    names = stems(plan.cluster.topics)
    found: dict[Path, ReassignmentMap] = {}
    for suffix, whole in made:
        if common.out_path is not None:
            by_topic: dict[str, list[PartitionAssignment]] = {}
            for entry in whole.partitions:
                by_topic.setdefault(entry.topic, []).append(entry)
            for topic, entries in sorted(by_topic.items()):
                found[folder / f"{names[topic]}{suffix}.json"] = ReassignmentMap(partitions=tuple(entries))
    taken = {path.name.casefold() for path in found}
    for suffix, whole in made:
        if common.out_file is not None and whole.partitions:
            path = folder / f"{common.out_file.removesuffix('.json')}{suffix}.json"
            if path.name.casefold() in taken:
                raise InvalidRequest(f"--out-file: {path.name} is the map of a topic; choose another name, such as all-topics")
            found[path] = whole
    return found


def shortened(plan: Plan, files: list[str]) -> dict[str, str]:
    """Topics whose files have another name than the topic, with that name."""
    changed = {plan.cluster.topics[t] for t in plan.cluster.topic[plan.changed].tolist()} if files else set()
    return {topic: stem for topic, stem in stems(plan.cluster.topics).items() if stem != topic and topic in changed}


def _as_json(plan: Plan, summary: PlacementSummary, steps: list[Batch], files: list[str]) -> dict[str, Any]:
    return {
        "summary": summary.model_dump(mode="json"),
        "reassignment": plan.reassignment().model_dump(mode="json", exclude_none=True),
        "rollback": plan.rollback().model_dump(mode="json", exclude_none=True),
        "steps": [
            {"copied_bytes": step.copied_bytes, "partitions": len(step.rows), "reassignment": step.reassignment().model_dump(
                mode="json", exclude_none=True)} for step in steps
        ],
        "files": files,
        "shortened": shortened(plan, files),
    }  # fmt: skip


def show(console: Console, plan: Plan, summary: PlacementSummary, steps: list[Batch], files: list[str], most: int) -> None:
    """Print topicmappr's sections, in its order."""
    cluster = plan.cluster
    topics = sorted({cluster.topics[t] for t in cluster.topic[plan.changed].tolist()})
    console.print(f"[bold]Topics with changes:[/] {', '.join(topics) or 'none'}")
    _show_broker_changes(console, plan)
    _show_changes(console, plan, most)
    _show_distribution(console, plan, summary)
    _show_storage(console, summary)
    _show_figures(console, summary)
    for number, step in enumerate(steps):
        console.print(f"step {number}: {len(step.rows)} partitions, {step.copied_bytes / GB:.2f} GB to copy")
    for notice in summary.notices:
        console.print(f"[yellow]NOTE[/] {notice}")
    if files:
        console.print("[bold]Maps written:[/]")
        for path in files:
            console.print(f"  {path}", soft_wrap=True)
        for topic, stem in shortened(plan, files).items():
            console.print(f"  {stem}… are the maps of topic {topic}", soft_wrap=True)


def _show_broker_changes(console: Console, plan: Plan) -> None:
    cluster = plan.cluster
    ids = cluster.broker_ids
    mapped = ids[np.unique(plan.before[plan.before >= 0])].tolist()
    racks = {int(ids[b]): cluster.rack_name(b) for b in range(cluster.broker_count) if cluster.is_live[b]}
    changes = topicmappr.broker_changes(mapped, ids[plan.targets].tolist(), racks)
    console.print("[bold]Broker changes:[/]")
    for word, brokers in (
        ("missing (previous broker, not live)", changes.old_missing),
        ("marked for removal", tuple(b for b in changes.replaced if b not in changes.old_missing)),
        ("listed, but not live", changes.missing),
        ("new", changes.new),
        ("without a rack", changes.without_rack),
    ):
        if brokers:
            console.print(f"  {word}: {', '.join(map(str, brokers))}")
    console.print(f"  replacing {len(changes.replaced)}, added {len(changes.new)}, missing {len(changes.missing)}")


def _show_changes(console: Console, plan: Plan, most: int) -> None:
    rows = plan.changed.tolist()
    shown = rows if most == 0 else rows[:most]
    table = Table(title=f"Partition map changes ({len(rows)} of {plan.cluster.partition_count})", title_justify="left")
    for column in ("partition", "before", "after", "change"):
        table.add_column(column)
    for row in shown:
        topic, number = plan.cluster.name(row)
        before, after = plan.cluster.ids(plan.before[row]), plan.cluster.ids(plan.after[row])
        table.add_row(f"{topic} p{number}", str(before), str(after), topicmappr.change(before, after))
    if rows:
        console.print(table)
    if len(shown) < len(rows):
        console.print(f"… {len(rows) - len(shown)} more (--changes 0 lists all)")


def _show_distribution(console: Console, plan: Plan, summary: PlacementSummary) -> None:
    degree = [topicmappr.degrees([b for b in row if b >= 0] for row in sets.tolist()) for sets in (plan.before, plan.after)]
    spans = [f"{min(d.values(), default=0)}/{max(d.values(), default=0)}/{sum(d.values()) / max(1, len(d)):.2f}" for d in degree]
    console.print(f"[bold]Broker distribution[/], degree (min/max/average of brokers that share sets): {spans[0]} -> {spans[1]}")
    table = Table("broker", "rack", "leaders", "followers", "replicas")
    for broker in summary.brokers:
        followers = broker.replicas_after - broker.leaders_after
        table.add_row(
            _name(broker),
            broker.rack or "-",
            f"{broker.leaders_before} -> {broker.leaders_after}",
            str(followers),
            f"{broker.replicas_before} -> {broker.replicas_after}",
        )
    console.print(table)


def _show_storage(console: Console, summary: PlacementSummary) -> None:
    brokers = [b for b in summary.brokers if b.capacity_bytes > 0]
    if not brokers:
        return
    before = topicmappr.storage([b.capacity_bytes - b.used_bytes_before for b in brokers if b.replicas_before or b.is_target])
    after = topicmappr.storage([b.capacity_bytes - b.used_bytes_after for b in brokers if b.is_target])
    console.print(
        f"[bold]Free storage[/], range {before.range / GB:.2f} -> {after.range / GB:.2f} GB, "
        f"range spread {before.range_spread_percent:.2f} -> {after.range_spread_percent:.2f} %, "
        f"deviation {before.standard_deviation / GB:.2f} -> {after.standard_deviation / GB:.2f} GB"
    )
    table = Table("broker", "free before", "free after", "difference", "utilisation")
    for broker in brokers:
        free = (broker.capacity_bytes - broker.used_bytes_before, broker.capacity_bytes - broker.used_bytes_after)
        change, share = topicmappr.difference(*free)
        table.add_row(
            _name(broker),
            f"{free[0] / GB:.2f} GB",
            f"{free[1] / GB:.2f} GB",
            f"{change / GB:+.2f} GB, {share:+.1f} %",
            f"{broker.used_bytes_before / broker.capacity_bytes:.1%} -> {broker.used_bytes_after / broker.capacity_bytes:.1%}",
        )
    console.print(table)


def _show_figures(console: Console, summary: PlacementSummary) -> None:
    exact = "exactly" if summary.best_possible_is_exact else "a bound"
    console.print(
        f"[bold]Moves[/] {summary.moved_bytes / GB:.2f} GB in {summary.moved_replicas} replicas; "
        f"any plan this level moves at least {summary.lower_bound_bytes / GB:.2f} GB ({summary.forced_bytes / GB:.2f} GB forced)"
    )
    console.print(
        f"[bold]Spread[/] of {summary.levelled}: {summary.spread_before:.6g} -> {summary.spread_after:.6g}, "
        f"no plan beats {summary.best_possible_spread:.6g} ({exact})"
    )
    console.print(
        f"[bold]Preferred leaders[/] per broker: {summary.leaders_before[0]}-{summary.leaders_before[1]} -> "
        f"{summary.leaders_after[0]}-{summary.leaders_after[1]}, {summary.leader_changes} change"
    )


def _name(broker: BrokerLoad) -> str:
    return str(broker.id) if broker.is_target else f"{broker.id} *leaves*"


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InvalidRequest("--plot and --frontier need matplotlib: install kafka-runbooks[plot]") from error
    return Figure(figsize=(9, 4.5), layout="constrained")


def require_plot(path: Path | None, option: str) -> None:
    """Refuse a plot that can't be drawn, before anything is planned or written."""
    if path is None:
        return
    if path.suffix not in (".png", ".svg"):
        raise InvalidRequest(f"{option} {path}: write a .png or a .svg")
    _figure()


def plot(summary: PlacementSummary, path: Path) -> None:
    """Plot the utilisation (or used bytes, where capacities are unknown) of every broker before and after."""
    known = all(b.capacity_bytes > 0 for b in summary.brokers)
    figure = _figure()
    axes = figure.subplots()
    at = np.arange(len(summary.brokers))
    for offset, label, values in (
        (-0.2, "before", [b.used_bytes_before for b in summary.brokers]),
        (0.2, "after", [b.used_bytes_after for b in summary.brokers]),
    ):
        scaled = [v / (b.capacity_bytes / 100 if known else GB) for v, b in zip(values, summary.brokers, strict=True)]
        axes.bar(at + offset, scaled, 0.4, label=label)
    axes.set_xticks(at, [_name(b) for b in summary.brokers], rotation=90, fontsize=7)
    axes.set_ylabel("used (% of capacity)" if known else "used (GB)")
    axes.set_title(f"{summary.kind}: {summary.moved_bytes / GB:.1f} GB to move")
    axes.legend()
    figure.savefig(path)


def frontier_plot(cluster: Cluster, options: planners.Options, brokers: list[int] | None) -> Writer:
    """A plot of bytes to move over the spread reached: actual plans, and what no plan can beat."""
    points = frontier(cluster, options, brokers)
    curve = lower_curve(cluster, np.linspace(points[0].spread, points[-1].spread, 40).tolist(), brokers)
    figure = _figure()
    axes = figure.subplots()
    axes.plot([s for s, _ in curve], [b / GB for _, b in curve], ":", label="no plan moves less")
    axes.plot([p.spread for p in points], [p.moved_bytes / GB for p in points], "o", label="plans")
    axes.set_xlabel("spread of utilisation (highest - lowest)")
    axes.set_ylabel("GB to move")
    axes.legend()
    return lambda path: figure.savefig(path)
