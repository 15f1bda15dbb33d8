"""How plans and previews are shown in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kafka_runbooks.cli.printing import print_reasons
from kafka_runbooks.models.messages import Survey
from kafka_runbooks.models.plans import PlanSummary
from kafka_runbooks.models.wording import size


def print_plan(console: Console, plan: PlanSummary) -> None:
    """What an operator reads before approving."""
    table, last = Table.grid(padding=(0, 2)), ""
    for line in plan.lines:
        table.add_row("" if line.label == last else line.label, Text(line.text))
        last = line.label or last
    if plan.brokers:
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
    table.add_row("steps", "\n".join(f"{number}. {step}" for number, step in enumerate(plan.steps, 1)))
    table.add_row("undo", plan.inverse)
    table.add_row("plan", f"sha256 {plan.reference.sha256}")
    console.print(table)


def print_preview(console: Console, preview: Survey) -> None:
    """What a runbook would do."""
    if preview.nothing_to_do:
        console.print(Text(f"nothing to do: {preview.nothing_to_do}"))
    if preview.plan is not None:
        print_plan(console, preview.plan)
    print_reasons(console, preview.reasons)
    for note in preview.notes:
        console.print(Text(f"note: {note}"))
    console.print("nothing was changed")
