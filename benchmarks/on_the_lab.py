"""What benchmarks on the lab have in common: it is brought up if it isn't, and left as it was found."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from kafka_runbooks_lab.lab import Lab


def main(description: str | None, measure: Callable[[Lab], dict[str, Any]]) -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    lab = Lab(lambda line: print(line, file=sys.stderr))
    was_up = lab.is_up()
    lab.up()
    try:
        figures = measure(lab)
    finally:
        if not was_up:
            lab.down()
    print(json.dumps(figures) if given.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))
