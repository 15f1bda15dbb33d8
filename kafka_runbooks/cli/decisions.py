"""What an operator decides about a run in progress: approve, reject, add brokers, uncordon, pause, resume, abort.

Each is an update of its workflow."""

from typing import Annotated, Any

import typer
from rich.text import Text

from kafka_runbooks.cli import connection, equivalents
from kafka_runbooks.cli.exits import BAD_INPUT, fail
from kafka_runbooks.cli.output import console, print_equivalent, print_json
from kafka_runbooks.cli.parameters import ByOption, Format, IdArgument, OutputOption, ReasonOption, typer_app
from kafka_runbooks.cli.status import observe
from kafka_runbooks.models.base import OperatorInput
from kafka_runbooks.models.operator import Abort, AddBrokers, Approval, OperatorAction, Uncordon
from kafka_runbooks.models.status import Status
from kafka_runbooks.runs import deciding
from kafka_runbooks.runs.validation import BadInput, validate

app = typer_app()


def send(update: str, id: str, model: type[OperatorInput], fields: dict[str, Any], output: Format) -> None:
    """Send an update to a run, and show the status it answers with. Fields that are None keep the model's default."""
    try:
        decision = validate(model, {name: value for name, value in fields.items() if value is not None})
    except BadInput as error:
        fail(BAD_INPUT, str(error))
    screen = console(output)
    print_equivalent(screen, equivalents.update(update, id, decision.model_dump(mode="json", exclude_unset=True)))

    async def work() -> Status:
        client = await connection.open_client()
        return await deciding.send(client, await observe(client, id), update, decision)

    answer = connection.run(work())
    if output is Format.JSON:
        print_json(answer)
    else:
        screen.print(Text(f"{update}: recorded; the run is in phase {answer.phase}: {answer.step}"))


@app.command()
def approve(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    risk: Annotated[list[str] | None, typer.Option(help="A risk to acknowledge, by name; may be repeated.")] = None,
    allow_other_rack: Annotated[
        bool | None, typer.Option("--allow-other-rack", help="The broker may come back in another rack.")
    ] = None,
    plan_sha256: Annotated[str | None, typer.Option(help="Approve only the plan with this hash.")] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Approve the plan that waits at the gate. Only what is named is approved."""
    fields = {"acknowledged_risks": risk or None, "allow_other_rack": allow_other_rack, "plan_sha256": plan_sha256}
    send("approve", id, Approval, {"by": by, "reason": reason, **fields}, output)


@app.command()
def reject(id: IdArgument, reason: ReasonOption, by: ByOption, output: OutputOption = Format.TEXT) -> None:
    """Reject the plan that waits at the gate: the run cleans up and ends."""
    send("reject", id, OperatorAction, {"by": by, "reason": reason}, output)


@app.command()
def add_brokers(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    broker_id: Annotated[list[int] | None, typer.Option(help="A broker's id; may be repeated.")] = None,
    node: Annotated[list[str] | None, typer.Option(help="A node that a broker ran on; may be repeated.")] = None,
    zone: Annotated[str | None, typer.Option(help="Every broker of this zone whose node is gone.")] = None,
    node_is_gone: Annotated[bool | None, typer.Option("--node-is-gone", help="The nodes will not come back.")] = None,
    allow_other_rack: Annotated[
        bool | None, typer.Option("--allow-other-rack", help="They may come back in another rack.")
    ] = None,
    risk: Annotated[list[str] | None, typer.Option(help="A risk to acknowledge, by name; may be repeated.")] = None,
    wait_for_approval: Annotated[
        bool | None, typer.Option("--wait-for-approval/--no-wait-for-approval", help="Wait with the plan of all. [default: yes]")
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Let a replace-broker run bring more brokers back, behind a preflight and a gate of their own."""
    fields = {
        "broker_ids": broker_id or None,
        "nodes": node or None,
        "zone": zone,
        "node_is_gone": node_is_gone,
        "allow_other_rack": allow_other_rack,
        "acknowledged_risks": risk or None,
        "wait_for_approval": wait_for_approval,
    }
    send("add_brokers", id, AddBrokers, {"by": by, "reason": reason, **fields}, output)


@app.command()
def uncordon(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    node: Annotated[list[str] | None, typer.Option(help="A node; may be repeated. [default: all that the run holds]")] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Hand nodes back that a drain holds: what ran on them comes back. The run ends once all of it is in sync again."""
    send("uncordon", id, Uncordon, {"by": by, "reason": reason, "nodes": node or None}, output)


@app.command()
def pause(id: IdArgument, reason: ReasonOption, by: ByOption, output: OutputOption = Format.TEXT) -> None:
    """Pause before the next step. Data in flight still arrives, throttled."""
    send("pause", id, OperatorAction, {"by": by, "reason": reason}, output)


@app.command()
def resume(id: IdArgument, reason: ReasonOption, by: ByOption, output: OutputOption = Format.TEXT) -> None:
    """Resume after a pause."""
    send("resume", id, OperatorAction, {"by": by, "reason": reason}, output)


@app.command()
def abort(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    rollback: Annotated[
        bool | None, typer.Option("--rollback", help="First move everything back to where it was, throttled.")
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """End a run: cancel what is in flight and clean up. What has arrived stays, unless --rollback moves it back."""
    send("abort", id, Abort, {"by": by, "reason": reason, "rollback": rollback}, output)
