"""Who owns what is set on a cluster: the verdict on what a run has left, by somebody who doesn't ask its ledger.

Pure. Whatever is found is a person's, an open run's, or left behind; what is left behind must be named in a result's
`left_behind`, and be gone after `ClearLeftovers`. What a person has set must still be there.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "rate",
    "list entry",
    "reassignment",
    "cordon",
    "log directory cordon",
    "override",
    "ledger",
    "permit",
]


@dataclass(frozen=True, order=True)
class Setting:
    """One thing that is set.

    Attributes:
        subject: the broker, topic, partition or node that it is set on; for records the run's id.
        key: which of several settings of that subject.
    """

    kind: Kind
    subject: str
    key: str = ""
    value: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.subject, self.key, self.value) if part)


@dataclass(frozen=True)
class Found:
    """What was read from Kafka, Kubernetes and Temporal; brokers in `silent` didn't answer."""

    settings: frozenset[Setting]
    silent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """What is wrong, and what was left and said."""

    unnamed: tuple[Setting, ...]
    """Owned by a run that has ended, and in no result."""
    named: tuple[Setting, ...]
    """Left behind, as the result says."""
    lost: tuple[Setting, ...]
    """A person's, and no longer there."""


def judge(found: Found, theirs: Collection[Setting], left_behind: Iterable[str], open_run_ids: Collection[str] = ()) -> Verdict:
    """The verdict.

    Args:
        found: what is there.
        theirs: what persons and other tools have set.
        left_behind: the lines of the ended runs' results.
        open_run_ids: runs that may own a ledger and a permit; anything else isn't theirs to keep.
    """
    lines = tuple(left_behind)
    ours = sorted(
        one
        for one in found.settings - frozenset(theirs)
        if not (one.kind in ("ledger", "permit") and one.subject in open_run_ids)
    )
    named = tuple(one for one in ours if _is_named(one, lines))
    lost = tuple(sorted(one for one in theirs if one not in found.settings and one.subject not in found.silent))
    return Verdict(unnamed=tuple(one for one in ours if one not in named), named=named, lost=lost)


def _is_named(one: Setting, lines: tuple[str, ...]) -> bool:
    match one.kind:
        case "ledger":
            return bool(lines)  # it says what the lines say
        case "permit":
            return False
        case "override":
            return any("override" in line for line in lines)
        case "reassignment":
            return any("reassignment" in line or _mentions(line, one.subject) for line in lines)
        case "list entry" | "rate" | "cordon" | "log directory cordon":
            words = {
                "list entry": "throttled",
                "rate": "throttle",
                "cordon": "cordon",
                "log directory cordon": "log director",
            }[one.kind]
            return any(words in line and _mentions(line, one.subject) for line in lines)


def _mentions(line: str, subject: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(subject)}(?![\w-]|\.\w)", line) is not None


class Silence:
    """How long a run's status has stood still without saying what it waits for.

    Fed with each status that a person could read. A status that says why it waits, or that moves, is not silent; nor is one that
    can't be read, since then nobody is there to say anything.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._last: tuple[Any, ...] | None = None
        self.longest_seconds = 0.0
        self.where = ""

    def see(self, now: float, status: dict[str, Any]) -> None:
        """A status, or {} where none could be read."""
        if not status or status.get("waiting"):
            self._since = self._last = None
            return
        progress = status.get("progress") or {}
        last = (
            status.get("phase"),
            status.get("step"),
            *(progress.get(key) for key in ("done_bytes", "done_partitions", "note")),
        )
        if last != self._last:
            self._since, self._last = now, last
        assert self._since is not None
        if now - self._since > self.longest_seconds:
            self.longest_seconds = now - self._since
            self.where = f"{status.get('phase')}: {status.get('step')}"
