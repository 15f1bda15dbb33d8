"""The details of a runbook in the Temporal UI: its status, as a few lines of Markdown."""

from kafka_runbooks.models.status import BrokerStatus, Status
from kafka_runbooks.models.wording import duration, size


def _broker(one: BrokerStatus) -> str:
    waits = "" if one.waiting is None else f", waits: {one.waiting.reason}"
    copied = (
        "" if one.progress is None else f", {one.progress.in_sync_partitions} of {one.progress.partitions} partitions in sync"
    )
    return f"Broker {one.broker_id}: {one.step}{copied}{waits}"


def markdown(status: Status) -> str:
    """At most some kilobytes (the server accepts 20,000 bytes)."""
    lines = [f"**{status.phase}**: {status.step}"]
    if status.step_number:
        lines[0] += f" (step {status.step_number} of {status.steps})"
    progress = status.progress
    if progress is not None and progress.total_partitions:
        line = f"{progress.done_partitions} of {progress.total_partitions} partitions"
        if progress.total_bytes:
            line += f", {size(progress.done_bytes)} of {size(progress.total_bytes)} at {size(progress.rate_bytes_per_s)}/s"
        if progress.eta_seconds is not None:
            line += f", {duration(progress.eta_seconds)} left"
        lines.append(line)
    lines += [_broker(one) for one in status.brokers[:10]]
    if status.waiting is not None:
        lines.append(f"Waits since {status.waiting.since:%H:%M:%S} UTC: {status.waiting.reason}")
        lines.append(f"Unblocks: {status.waiting.unblocks}")
    lines += [f"Reason: {reason.message}" for reason in status.reasons[:10]]
    lines += [f"Note: {note}" for note in status.notes[:5]]
    if status.owned_throttles:
        lines.append("Owns: " + "; ".join(status.owned_throttles[:5]))
    return "\n\n".join(lines)[:15_000]
