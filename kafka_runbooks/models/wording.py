"""Bytes, durations and what is misspelt as people read them, the same in the terminal, in summaries and in the Temporal UI."""

import difflib
from collections.abc import Collection


def size(number: float) -> str:
    """`1.2 GB`: decimal units, as disks and networks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """`1 h 04 min`, `3 min 20 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"


def unknown_field(name: str, known: Collection[str]) -> str:
    """That there is no such field, and which one may be meant."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"no such field; did you mean {close[0]}?"
    return "no such field; leave it out" + (f"; known are {', '.join(known)}" if known else "")
