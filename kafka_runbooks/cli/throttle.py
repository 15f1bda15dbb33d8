"""`throttle set` and `throttle clear`: a run's throttle in an operator's hands."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from kafka_runbooks.cli.decisions import send
from kafka_runbooks.cli.parameters import ByOption, Format, IdArgument, OutputOption, ReasonOption, typer_app
from kafka_runbooks.models.operator import ClearThrottle, Override

app = typer_app("Override the throttle of a run in progress, and return it to automatic control.")


@app.command("set")
def set_throttle(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    rate: Annotated[int, typer.Option(min=1_000, help="Bytes per second, in both directions.")],
    broker: Annotated[int | None, typer.Option(min=0, help="Only this broker. Default: every broker that takes part.")] = None,
    minutes: Annotated[
        int | None, typer.Option(min=1, help="Expires after this long. Default: until it is cleared, or the run ends.")
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Fix the rate of brokers, regardless of measurements."""
    expires_at = None if minutes is None else datetime.now(UTC) + timedelta(minutes=minutes)
    fields = {"broker_id": broker, "expires_at": expires_at}
    send("set_throttle", id, Override, {"rate_bytes_per_s": rate, "by": by, "reason": reason, **fields}, output)


@app.command("clear")
def clear_throttle(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    broker: Annotated[int | None, typer.Option(min=0, help="This broker's override. Default: the one for all.")] = None,
    everything: Annotated[bool | None, typer.Option("--everything", help="Every override.")] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Remove an override. The automatic control continues from the current rates."""
    fields = {"broker_id": broker, "everything": everything}
    send("clear_throttle", id, ClearThrottle, {"by": by, "reason": reason, **fields}, output)
