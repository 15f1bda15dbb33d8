"""Durations as people type them."""

import re
from datetime import timedelta

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(text: str) -> timedelta:
    """`90s`, `15m`, `4h`, `2d`.

    Raises:
        ValueError: it isn't one.
    """
    found = re.fullmatch(r"(\d{1,7})([smhd])", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration: give a number and s, m, h or d, such as 15m")
    return timedelta(**{UNITS[found[2]]: int(found[1])})
