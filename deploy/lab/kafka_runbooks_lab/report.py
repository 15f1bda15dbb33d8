"""The demo's figures, as a JSON file and on the terminal."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.models.wording import duration, size


def make(
    result: RunbookResult,
    traffic: dict[str, Any],
    remains: list[str],
    phases: dict[str, float],
    workflow_id: str,
    links: list[str],
) -> dict[str, Any]:
    """Everything that was measured. `phases` are the demo's own, in seconds; the runbook's steps are beside them."""
    return {
        "ok": is_well(result, traffic, remains),
        "workflow_id": workflow_id,
        "links": links,
        "outcome": result.outcome.value,
        "summary": result.summary,
        "phases_seconds": {name: round(seconds, 1) for name, seconds in phases.items()},
        "steps_seconds": {step.step: round(step.seconds, 1) for step in result.steps},
        "copied_bytes": result.copied_bytes,
        "lower_bound_bytes": result.lower_bound_bytes,
        "highest_throttle_bytes_per_s": result.highest_throttle_bytes_per_s,
        "traffic": traffic,
        "exit_contract": [check.model_dump() for check in result.checks],
        "left_behind": [*result.left_behind, *remains],
    }


def is_well(result: RunbookResult, traffic: dict[str, Any], remains: list[str]) -> bool:
    """Whether the run is done with nothing lost and nothing left. Without any checked record or exit contract it is not."""
    return (
        result.outcome is Outcome.DONE
        and bool(result.checks)
        and all(check.passed for check in result.checks)
        and not result.left_behind
        and not remains
        and traffic["acknowledged"] > 0
        and traffic["lost"] == 0
    )


def write(report: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def show(console: Console, report: dict[str, Any]) -> None:
    """Print the figures for people."""
    table = Table(title="A broker lost with its node and disk, and restored", show_header=False, box=None, title_justify="left")
    traffic = report["traffic"]
    rows: list[tuple[str, str]] = [("outcome", f"{report['outcome']}: {report['summary']}")]
    rows += [(f"  {name}", duration(seconds)) for name, seconds in report["phases_seconds"].items()]
    rows += [(f"    {name}", duration(seconds)) for name, seconds in report["steps_seconds"].items()]
    rows.append(("copied", f"{size(report['copied_bytes'])}; lower bound {size(report['lower_bound_bytes'])}"))
    highest = report["highest_throttle_bytes_per_s"]
    rows.append(("highest throttle", f"{size(highest)}/s from each source" if highest else "none"))
    rows.append(("records acknowledged", str(traffic["acknowledged"])))
    rows.append(("  lost, duplicated, out of order", f"{traffic['lost']}, {traffic['duplicated']}, {traffic['out_of_order']}"))
    rows.append(("  produce errors", str(traffic["produce_errors"])))
    rows.append(("  longest time without one acknowledged", f"{traffic['longest_gap_s']} s"))
    # "during" begins with the power cut, when Kafka itself takes seconds to elect; "catch-up" is what recovery costs producers.
    p99 = ", ".join(f"{name} {value if value is not None else '-'} ms" for name, value in traffic["p99_ms"].items())
    rows.append(("  p99 produce latency", p99))
    for check in report["exit_contract"]:
        rows.append((f"  {'✓' if check['holds'] else '✗'} {check['name']}", check["detail"]))
    rows.append(("left behind", "; ".join(report["left_behind"]) or "nothing"))
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    console.print(table)
    console.print("[bold green]nothing was lost, nothing was left[/]" if report["ok"] else "[bold red]failed[/]")
