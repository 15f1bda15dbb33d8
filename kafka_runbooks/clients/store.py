"""Plans, ledgers and the like, kept beside the cluster as compressed JSON in ConfigMaps.

A ConfigMap holds at most 1 MiB, so a record is one ConfigMap, or one that names several others with its parts. A part is named
after its content and never changes. The record itself is written last, and what it no longer names is removed after that: so a
reader finds the old value or the new one, wherever the writer died, and never a mix. Parts that nobody names any more are left
to `remove_stray_parts`.

When a record was written, for whom, and the names of its parts are annotations: a hundred plans of a large cluster are half a
gigabyte, and who looks for old ones (every run at its start) reads their metadata alone.

Who writes a record gives the version that he has read, and is refused if someone else has written or deleted it since: what is
written was decided upon what is replaced.
"""

import gzip
import hashlib
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from kafka_runbooks.clients.errors import Conflict, Refused
from kafka_runbooks.clients.protocols import Kubernetes, Record
from kafka_runbooks.models import pieces
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.ledger import Owner

PLAN = "plan"
LEDGER = "ledger"
OVERRIDES = "overrides"
EVACUATION = "evacuation"
LISTENERS = "listeners"
TOPICS = "topics"
KINDS = (PLAN, LEDGER, OVERRIDES, EVACUATION, LISTENERS, TOPICS)
ANY = "*"
"""The version of a writer who replaces whatever is there."""
PART_BYTES = 700_000
"""Under 1 MiB, which data and summary share."""
SUMMARY_CHARACTERS = 20_000
COMPRESSION = 6
"""Of a plan of 200,000 moves the highest (9) makes one percent less, in two and a half times the time."""
STRAY_PARTS_AFTER = timedelta(hours=1)
"""A younger part may belong to a record that is just being written."""
DATA = "json.gz"
PARTS, WRITTEN_AT, OWNER = "parts", "written-at", "owner"

M = TypeVar("M", bound=Model)


class Unreadable(NamedTuple):
    """A record that can't be read, and what a person can do about it."""

    name: str
    why: str
    summary: str

    def __str__(self) -> str:
        says = f" It says: {self.summary}." if self.summary else ""
        return (
            f"record {self.name} can't be read: {self.why}.{says} "
            f"Check by hand what it is about, then `kubectl delete configmap {self.name}`"
        )


class Written(NamedTuple):
    """A record without its content."""

    name: str
    at: datetime
    """When it was written last; the beginning of time where it doesn't say."""
    owner: Owner | None


def save(
    kubernetes: Kubernetes,
    kind: str,
    name: str,
    value: Model,
    summary: str,
    *,
    version: str | None = ANY,
    owner: Owner | None = None,
) -> str:
    """Create or replace a record.

    Args:
        summary: for people who read the ConfigMap; cut where it grows with the cluster.
        version: the one that was read; None: there was none.
        owner: the run that it is written for, where the value doesn't say it and may be removed by that.

    Returns:
        The record's version now.

    Raises:
        Conflict: it has another version by now.
    """
    before = kubernetes.read_record(name)
    found = None if before is None else before.version
    if version not in (ANY, found):
        raise Conflict(f"record {name} was {'deleted' if before is None else 'changed'} by someone else")
    data = _compressed(value)
    written_at = {WRITTEN_AT: datetime.now(UTC).isoformat(timespec="seconds")}
    about = written_at | ({} if owner is None else {OWNER: owner.model_dump_json()})
    first = {DATA: data}
    parts: list[str] = []
    if len(data) > PART_BYTES:
        for start in range(0, len(data), PART_BYTES):
            part = data[start : start + PART_BYTES]
            parts.append(f"{name}-part-{hashlib.sha256(part).hexdigest()[:16]}")
            try:
                kubernetes.write_record(parts[-1], part_of(kind), {DATA: part}, f"part of {name}", None, written_at)
            except Conflict:
                continue  # The same content is there already.
        first, about = {}, {**about, PARTS: json.dumps(parts)}
    version = kubernetes.write_record(name, kind, first, _cut(summary), found, about)
    for part_name in sorted(set(_parts_of(before)) - set(parts)):
        kubernetes.delete_record(part_name)
    return version


def load(kubernetes: Kubernetes, name: str, model: type[M]) -> M | None:
    """Read a record, or None if there is none.

    Raises:
        Refused: it exists but can't be read.
    """
    found = load_versioned(kubernetes, name, model)
    return None if found is None else found[0]


def load_versioned(kubernetes: Kubernetes, name: str, model: type[M]) -> tuple[M, str] | None:
    """Read a record with the version that its writer must give, or None if there is none.

    Raises:
        Refused: it exists but can't be read.
    """
    record = kubernetes.read_record(name)
    while record is not None:
        why = ""
        try:
            data = _data_of(kubernetes, record)
            if data is not None:
                with gzip.open(io.BytesIO(data)) as lines:
                    return pieces.from_lines(model, lines), record.version
            why = "a part of it is missing"
        except (ValueError, OSError, EOFError, KeyError) as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        again = kubernetes.read_record(name)
        if again is not None and again.version == record.version:
            summary = record.parts.get("summary", b"").decode(errors="replace")
            raise Refused(str(Unreadable(name, why, "; ".join(summary.splitlines())[:500])))
        record = again  # It was replaced between two reads.
    return None


def remove(kubernetes: Kubernetes, name: str, *, version: str | None = None) -> None:
    """Delete a record with its parts, whatever its version or (given) only in this one; one that doesn't exist is fine.

    Raises:
        Conflict: it has another version.
    """
    record = kubernetes.read_record(name)
    if record is None:
        return
    kubernetes.delete_record(name, version)
    for part in _parts_of(record):
        kubernetes.delete_record(part)


def written(kubernetes: Kubernetes, kind: str) -> tuple[Written, ...]:
    """When each record of a kind was written, and for whom."""
    found = kubernetes.records(kind)
    return tuple(Written(name, _time_of(annotations), _owner_of(annotations)) for name, annotations in found.items())


def remove_stray_parts(kubernetes: Kubernetes, kind: str) -> tuple[str, ...]:
    """Delete the parts of a kind that no record names: their writer has died, or the record was deleted by hand."""
    parts = kubernetes.records(part_of(kind))
    if not parts:
        return ()
    named = {part for annotations in kubernetes.records(kind).values() for part in _names_in(annotations)}
    removed = []
    for name, annotations in parts.items():
        if name not in named and datetime.now(UTC) - _time_of(annotations) > STRAY_PARTS_AFTER:
            kubernetes.delete_record(name)
            removed.append(name)
    return tuple(removed)


def part_of(kind: str) -> str:
    """The kind of a record's parts."""
    return f"{kind}-part"


def _compressed(value: Model) -> bytes:
    written = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=written, mtime=0) as file:
        for line in pieces.lines(value):
            file.write(line)
    return written.getvalue()


def _data_of(kubernetes: Kubernetes, record: Record) -> bytes | None:
    """The compressed JSON; None where a part is missing."""
    if PARTS not in record.annotations:
        return bytes(record.parts[DATA])
    data = []
    for name in _parts_of(record):
        part = kubernetes.read_record(name)
        if part is None:
            return None
        data.append(part.parts[DATA])
    return b"".join(data)


def _parts_of(record: Record | None) -> tuple[str, ...]:
    return () if record is None else _names_in(record.annotations)


def _names_in(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The names of a record's parts; an annotation that is no JSON names none."""
    try:
        names = json.loads(annotations.get(PARTS, "[]"))
    except ValueError:
        return ()
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _time_of(annotations: Mapping[str, str]) -> datetime:
    try:
        return datetime.fromisoformat(annotations[WRITTEN_AT]).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.min.replace(tzinfo=UTC)


def _owner_of(annotations: Mapping[str, str]) -> Owner | None:
    try:
        return Owner.model_validate_json(annotations[OWNER])
    except (KeyError, ValueError):
        return None


def _cut(summary: str) -> str:
    """The first lines, and how many more there are."""
    if len(summary) <= SUMMARY_CHARACTERS:
        return summary
    lines = summary[:SUMMARY_CHARACTERS].splitlines()[:-1]
    return "\n".join([*lines, f"… and {len(summary.splitlines()) - len(lines)} more lines"])
