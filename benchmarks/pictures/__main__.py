"""Draw the documentation's pictures anew: `uv run python -m benchmarks.pictures`. A test compares them with the files."""

from pathlib import Path

from benchmarks.pictures import diagrams, rounds, throttle

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
PICTURES = {
    "parts": diagrams.parts,
    "replace-broker": diagrams.course,
    "rounds": rounds.rounds,
    "throttle": throttle.throttle,
}


def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw())


if __name__ == "__main__":
    main()
