"""Topics as an operator names them: literally, or by a regular expression that matches the whole name.

Patterns are matched by RE2, in time linear in the name. Python's `re` backtracks: `(\\w+[.-]?)+-dlq` takes minutes on a name of
thirty characters, during which the worker does nothing else for any cluster. What RE2 leaves out for that (lookaround,
backreferences) is refused with the reason.
"""

import string
from collections.abc import Collection, Sequence

import re2

LEGAL = frozenset(string.ascii_letters + string.digits + "._-")
"""Characters of a topic's name (Topic.LEGAL_CHARS): an item of only these is a name, dots included."""


class NoTopicMatches(ValueError):
    """An item matches no topic."""


def is_literal(item: str) -> bool:
    """Whether an item names one topic, instead of being a regular expression."""
    return LEGAL.issuperset(item)


def check(pattern: str) -> str:
    """The pattern, if it is one.

    Raises:
        ValueError: RE2 can't compile it; the message says why.
    """
    _compiled(pattern)
    return pattern


def matching(pattern: str, topics: Sequence[str]) -> list[str]:
    """Topics whose whole name the regular expression matches."""
    compiled = _compiled(pattern)
    return [topic for topic in topics if compiled.fullmatch(topic)]


def named(item: str, topics: Sequence[str], known: Collection[str]) -> list[str]:
    """Topics that an item stands for: the one of that name, or those that the regular expression matches.

    Args:
        item: a name, or a regular expression.
        topics: every topic, in the order wanted.
        known: the same, to look names up in.

    Raises:
        NoTopicMatches: there is no such topic.
        ValueError: it is no regular expression.
    """
    if item in known:
        return [item]
    if is_literal(item):
        raise NoTopicMatches(f"no topic is called {item!r}")
    found = matching(item, topics)
    if not found:
        raise NoTopicMatches(f"{item!r} matches no topic")
    return found


def _compiled(pattern: str) -> "re2._Regexp":
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        hint = "; lookaround and backreferences are not supported (RE2)" if "(?" in why or "escape" in why else ""
        raise ValueError(f"{pattern!r} is not a regular expression: {why}{hint}") from error
