"""How plans and previews are shown in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kafka_runbooks.cli.printing import print_reasons
from kafka_runbooks.models.moves import MoveSummary
from kafka_runbooks.models.plans import PlanSummary
from kafka_runbooks.models.preview import Preview
from kafka_runbooks.models.wording import duration, size


def print_plan(console: Console, plan: PlanSummary | MoveSummary) -> None:
    """What an operator reads before approving."""
    if isinstance(plan, MoveSummary):
        _print_moves(console, plan)
        return
    table = Table.grid(padding=(0, 2))
    moves_to = f", replaced by broker {plan.replacement_broker_id}" if plan.replacement_broker_id is not None else ""
    table.add_row("broker", f"{plan.broker_id} (pod {plan.pod}, node {plan.node}, rack {plan.rack}, map {plan.map}){moves_to}")
    table.add_row("partitions", str(plan.partitions))
    table.add_row("to copy", f"{size(plan.bytes_to_copy)} (lower bound {size(plan.lower_bound_bytes)})")
    table.add_row("throttle", f"up to {size(plan.throttle_bytes_per_s)}/s from each source; about {duration(plan.eta_seconds)}")
    table.add_row("steps", "\n".join(f"{number}. {step}" for number, step in enumerate(plan.steps, 1)))
    for name, lines in (("in between", plan.intermediate_states[:10]), ("others' throttles", plan.foreign_throttles[:10])):
        if lines:
            table.add_row(name, "\n".join(lines))
    table.add_row("undo", plan.inverse)
    table.add_row("plan", f"sha256 {plan.reference.sha256}")
    console.print(table)


def _print_moves(console: Console, plan: MoveSummary) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("what", plan.title)
    only_order = f", {plan.reordered_partitions} of them reordered only" if plan.reordered_partitions else ""
    table.add_row("partitions", f"{plan.partitions}{only_order}, in {plan.batches} batches")
    table.add_row("to copy", f"{size(plan.bytes_to_copy)} (lower bound for the same balance {size(plan.lower_bound_bytes)})")
    table.add_row(
        "balance", f"{plan.levelled}: highest minus lowest broker {plan.spread_before:.4g}, then {plan.spread_after:.4g}"
    )
    table.add_row("throttle", f"up to {size(plan.throttle_bytes_per_s)}/s from each source; about {duration(plan.eta_seconds)}")
    brokers = Table("broker", "used", "then", "arriving", "replicas", "then", "leads", "then", box=None, pad_edge=False)
    for broker in plan.brokers:
        brokers.add_row(
            str(broker.broker_id),
            size(broker.used_bytes_before),
            size(broker.used_bytes_after),
            size(broker.arriving_bytes),
            *map(str, (broker.replicas_before, broker.replicas_after, broker.leaders_before, broker.leaders_after)),
        )
    table.add_row("brokers", brokers)
    batches = [
        f"{number}. {batch.partitions} partitions, {size(batch.copied_bytes)}, {duration(batch.seconds)}"
        + (f"; fullest is broker {batch.fullest_broker_id} with {size(batch.fullest_bytes)}" if batch.copied_bytes else "")
        for number, batch in enumerate(plan.what_if[:10], 1)
    ]
    more = [f"and {plan.batches - len(batches)} more"] if plan.batches > len(batches) else []
    table.add_row("batches", "\n".join([*batches, *more]))
    for name, lines in (("notes", plan.notices[:10]), ("others' throttles", plan.foreign_throttles[:10])):
        if lines:
            table.add_row(name, "\n".join(lines))
    table.add_row("steps", "\n".join(f"{number}. {step}" for number, step in enumerate(plan.steps, 1)))
    table.add_row("undo", plan.inverse)
    table.add_row("plan", f"sha256 {plan.reference.sha256}")
    console.print(table)


def print_preview(console: Console, preview: Preview) -> None:
    """What a runbook would do."""
    if preview.nothing_to_do:
        console.print(Text(f"nothing to do: {preview.nothing_to_do}"))
    if preview.plan is not None:
        print_plan(console, preview.plan)
    print_reasons(console, preview.reasons)
    for note in preview.notes:
        console.print(Text(f"note: {note}"))
    console.print("nothing was changed")
