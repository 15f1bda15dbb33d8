"""From the file to Temporal: what differs, and making it the same.

Ours is what was made with our memo and the file's owner; a schedule of anybody else is never touched, whatever it is called.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks.catalogue import summary
from kafka_runbooks.runs.validation import BadInput
from kafka_runbooks.schedules import times
from kafka_runbooks.schedules.file import Entry, SchedulesFile

MEMO = "kafka-runbooks-schedules-of"
"""The memo that says whose a schedule is."""


@dataclass(frozen=True)
class Difference:
    """What `apply` does to one schedule."""

    id: str
    action: str
    """`create`, `update` or `delete`."""
    fields: tuple[str, ...] = ()
    """What an update changes: `cron: is …, becomes …`."""


async def differences(client: Client, file: SchedulesFile, task_queue: str) -> list[Difference]:
    """What isn't as declared.

    Raises:
        BadInput: a schedule of this ID belongs to somebody else.
    """
    found, faults = [], []
    for name, entry in file.schedules.items():
        described = await _described(client, name)
        if described is None:
            found.append(Difference(name, "create"))
            continue
        owner = await _owner(described)
        if owner != file.owner:
            whose = "somebody's own" if owner is None else f"{owner}'s"
            faults.append(f"schedules.{name}: there is a schedule of this ID already, and it is {whose}; give another ID")
        elif fields := _changes(described.schedule, wanted(name, entry, task_queue), entry):
            found.append(Difference(name, "update", tuple(fields)))
    if faults:
        raise BadInput("\n".join(faults))
    async for name in _ours(client, file.owner):
        if name not in file.schedules:
            found.append(Difference(name, "delete"))
    return found


async def apply(client: Client, file: SchedulesFile, task_queue: str) -> list[Difference]:
    """Make everything as declared; returns what was done.

    Raises:
        BadInput: a schedule of this ID belongs to somebody else; nothing was changed then.
    """
    found = await differences(client, file, task_queue)
    for one in found:
        if one.action == "delete":
            await client.get_schedule_handle(one.id).delete()
            continue
        schedule = wanted(one.id, file.schedules[one.id], task_queue)
        if one.action == "create":
            try:
                await client.create_schedule(one.id, schedule, memo={MEMO: file.owner})
            except ScheduleAlreadyRunningError as error:
                raise BadInput(f"schedules.{one.id}: somebody has just made a schedule of this ID; look again") from error
        else:
            await _update(client, one.id, schedule, is_pause_declared=file.schedules[one.id].paused is not None)
    return found


async def delete(client: Client, owner: str) -> list[Difference]:
    """Delete every schedule of an owner; returns what was deleted."""
    found = [Difference(name, "delete") async for name in _ours(client, owner)]
    for one in found:
        await client.get_schedule_handle(one.id).delete()
    return found


async def _update(client: Client, name: str, schedule: Schedule, *, is_pause_declared: bool) -> None:
    def merged(now: ScheduleUpdateInput) -> ScheduleUpdate:
        if is_pause_declared:
            return ScheduleUpdate(schedule)
        state = replace(schedule.state, paused=now.description.schedule.state.paused)
        return ScheduleUpdate(replace(schedule, state=state))

    await client.get_schedule_handle(name).update(merged)


async def _described(client: Client, name: str) -> ScheduleDescription | None:
    try:
        return await client.get_schedule_handle(name).describe()
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise


async def _owner(described: ScheduleDescription) -> object:
    return (await described.memo()).get(MEMO)


async def _ours(client: Client, owner: str) -> AsyncIterator[str]:
    async for listed in await client.list_schedules():
        if (await listed.memo()).get(MEMO) != owner:
            continue
        described = await _described(client, listed.id)  # The list may lag behind.
        if described is not None and await _owner(described) == owner:
            yield listed.id


def wanted(name: str, entry: Entry, task_queue: str) -> Schedule:
    """The schedule that an entry declares. Its runs have its ID and their time."""
    request = entry.request
    who = getattr(request, "requester", "schedule")
    return Schedule(
        action=ScheduleActionStartWorkflow(
            entry.workflow,
            request.model_dump(mode="json", exclude_unset=True),
            id=name,
            task_queue=task_queue,
            static_summary=summary(entry.workflow, getattr(request, "cluster", ""), who),
        ),
        spec=ScheduleSpec(
            calendars=[] if entry.cron is None else [times.cron(entry.cron)],
            intervals=[] if entry.every is None else [ScheduleIntervalSpec(every=entry.every)],
            skip=[] if entry.window is None else times.outside(entry.window),
            jitter=entry.jitter or None,
            time_zone_name=entry.timezone,
        ),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy[entry.overlap.upper().replace("-", "_")], catchup_window=entry.catch_up
        ),
        state=ScheduleState(note=entry.note, paused=entry.paused or False),
    )


def _changes(now: Schedule, then: Schedule, entry: Entry) -> list[str]:
    """What differs, each with what it is and becomes. A pause that isn't declared is whoever's it is."""
    is_, becomes = _fields(now), _fields(then)
    names = [name for name in becomes if is_[name] != becomes[name] and not (name == "paused" and entry.paused is None)]
    return [f"{name}: is {_short(is_[name])}, becomes {_short(becomes[name])}" for name in names]


def _fields(one: Schedule) -> Mapping[str, object]:
    action, spec = one.action, one.spec
    assert isinstance(action, ScheduleActionStartWorkflow), "a schedule starts a workflow, and nothing else"
    return {
        "workflow": action.workflow,
        "input": [_input(argument) for argument in action.args],
        "workflow ID": action.id,
        "task queue": action.task_queue,
        "calendars": [_calendar(calendar) for calendar in spec.calendars],
        "cron": list(spec.cron_expressions),
        "every": [(str(one.every), str(one.offset or "")) for one in spec.intervals],
        "outside of the window": [_calendar(calendar) for calendar in spec.skip],
        "jitter": str(spec.jitter or 0),
        "timezone": spec.time_zone_name or "UTC",
        "overlap": one.policy.overlap.name,
        "catch-up": str(one.policy.catchup_window),
        "note": one.state.note or "",
        "paused": one.state.paused,
        "start and end": (str(spec.start_at), str(spec.end_at)),
        "timeouts": [str(one or "") for one in (action.execution_timeout, action.run_timeout)],
        "pause on failure": one.policy.pause_on_failure,
        "limited actions": one.state.limited_actions,
    }


def _input(argument: Any) -> object:
    """As JSON; what the server returns is a payload."""
    return json.loads(argument.data) if hasattr(argument, "data") else argument


def _calendar(one: Any) -> tuple[object, ...]:
    parts = (one.second, one.minute, one.hour, one.day_of_month, one.month, one.day_of_week, one.year)
    return tuple(tuple((span.start, max(span.start, span.end), max(1, span.step)) for span in part) for part in parts)


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 120 else text[:119] + "…"
