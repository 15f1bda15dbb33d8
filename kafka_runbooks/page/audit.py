"""One JSON line for each view and each press: who, what, which run. Whoever reads it later wasn't there."""

import structlog

from kafka_runbooks.page.identity import Person

_log = structlog.get_logger("kafka_runbooks.audit")


def view(person: Person, what: str, **fields: object) -> None:
    """Somebody has looked."""
    _log.info("view", who=person.name, what=what, **fields)


def press(person: Person, what: str, *, outcome: str, **fields: object) -> None:
    """Somebody has pressed, and what came of it."""
    _log.info("press", who=person.name, what=what, outcome=outcome, **fields)


def refused(what: str, *, reason: str, **fields: object) -> None:
    """Something was turned away before anybody was identified, or since it was forged."""
    _log.warning("refused", what=what, reason=reason, **fields)


def linked(made_by: str, **fields: object) -> None:
    """A webhook has had a link posted."""
    _log.info("link", who=made_by, **fields)
