"""Alerts as they are sent to the webhook, and the runbook that they name: `replace-broker cluster=lab broker_id=1002`.

Whoever writes an alert's rule names the runbook; values often come from labels. So an alert may fill in what a person would type,
and never what takes a person's word. Nothing that an alert contains is fetched.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from kafka_runbooks import links
from kafka_runbooks.catalogue import RUNBOOKS, command_name
from kafka_runbooks.links import Link
from kafka_runbooks.runs import validation
from kafka_runbooks.runs.validation import BadInput

ANNOTATION = "kafka_runbook"
"""The annotation of an alert that names the runbook."""
PERSONS_WORD = frozenset(
    {"requester", "wait_for_approval", "acknowledged_risks", "node_is_gone", "allow_other_rack", "break_glass"}
)
"""Fields that only a person can answer for."""
LONGEST_AGO = timedelta(days=30)
_IN_TITLE = re.compile(r"kafka[_-]runbook:\s*(.+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """What one alert asks for: its title, the runbook as text, and since when it fires."""

    title: str
    text: str
    since: datetime | None = None


class Alert(BaseModel):
    """One alert of Alertmanager."""

    status: str
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    startsAt: AwareDatetime


class Alertmanager(BaseModel):
    """What Alertmanager sends (version 4)."""

    alerts: list[Alert] = Field(max_length=1000)

    def asked(self) -> Iterator[Asked]:
        """Of alerts that fire and name a runbook."""
        for alert in self.alerts:
            if alert.status == "firing" and (text := alert.annotations.get(ANNOTATION)):
                title = alert.annotations.get("summary") or alert.labels.get("alertname") or "an alert"
                yield Asked(title, text, alert.startsAt)


class IncidentData(BaseModel):
    """What of an incident is read."""

    title: str = ""
    created_at: AwareDatetime | None = None


class IncidentEvent(BaseModel):
    """One event of an incident."""

    event_type: str
    data: IncidentData


class PagerDuty(BaseModel):
    """What PagerDuty sends (webhooks, version 3)."""

    event: IncidentEvent

    def asked(self) -> Iterator[Asked]:
        """Of an incident that begins and has `kafka-runbook: …` at the end of its title."""
        found = _IN_TITLE.search(self.event.data.title)
        if self.event.event_type == "incident.triggered" and found:
            title = self.event.data.title[: found.start()].strip(" ;,()[]") or "an incident"
            yield Asked(title, found[1].rstrip(" )]"), self.event.data.created_at)


def link(asked: Asked, validity: timedelta, made_by: str, now: datetime) -> Link:
    """The link that an alert asks for. An alert that is sent again gets one that starts the same run.

    Raises:
        BadInput: it names no runbook, or fields that are wrong.
    """
    name, fields = _read(asked.text)
    request = validation.validate(RUNBOOKS[name].input, {**fields, "requester": made_by})
    since = asked.since
    if since is None or not now - LONGEST_AGO <= since <= now + timedelta(minutes=5):
        since = now
    return links.made(name, request, validity=validity, at=since.astimezone(UTC), now=now)


def _read(text: str) -> tuple[str, dict[str, Any]]:
    known = {name: runbook for runbook in RUNBOOKS for name in (runbook, command_name(runbook))}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInput(f"{text[:200]!r}: {error}") from error
    if not words or words[0] not in known:
        examples = ", ".join(map(command_name, RUNBOOKS))
        raise BadInput(
            f"{text[:200]!r} names no runbook; write `replace-broker cluster=lab broker_id=1002`; known are {examples}"
        )
    fields: dict[str, Any] = {}
    for word in words[1:]:
        field, is_given, value = word.partition("=")
        if not is_given or not field or field in fields:
            raise BadInput(f"{word[:200]!r}: write each field once, as field=value; JSON where it isn't text or a number")
        if field in PERSONS_WORD:
            raise BadInput(f"{field}: an alert can't say that, only a person who presses")
        fields[field] = _value(value)
    return known[words[0]], fields


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def message(found: Iterable[tuple[Asked, Link, str]], faults: Iterable[tuple[Asked, str]]) -> str:
    """What is posted, in the markup of Slack; nothing that an alert contains is markup."""
    lines = []
    for asked, made, url in found:
        about = f"{command_name(made.runbook)} on {made.input['cluster']}"
        lines.append(f"*{escaped(asked.title)}*: <{url}|{escaped(about)}>, valid until {made.expires:%Y-%m-%d %H:%M} UTC")
    lines += [f"*{escaped(asked.title)}*: no link, {escaped(fault)}" for asked, fault in faults]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text that Slack takes as it is: no link, no mention, one line."""
    plain = " ".join(text.split())[:500].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("|", "¦").replace("*", "∗").replace("`", "'")
