"""The documentation's pictures are what the code draws today, and each is on a page."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.pictures.__main__ import FOLDER, PICTURES
from benchmarks.pictures.drawing import Drawing
from benchmarks.pictures.throttle import BLIND, PEAK, Moment, simulated

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_the_code_draws(name: str) -> None:
    drawn = PICTURES[name]()
    assert (FOLDER / f"{name}.svg").read_text() == drawn, "python -m benchmarks.pictures"
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    pages = [page for page in DOCS.rglob("*.md") if f"pictures/{name}.svg)" in page.read_text()]
    assert len(pages) == 1


def test_there_is_no_other_picture() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(PICTURES)


def test_text_that_does_not_fit_is_not_drawn() -> None:
    it = Drawing(100, 100, "a test")
    with pytest.raises(ValueError, match="leaves the picture"):
        it.text(50, 20, "a line that is longer")
    with pytest.raises(ValueError, match="longer than its box"):
        it.card(0, 0, 60, 60, "a long title")
    with pytest.raises(ValueError, match="more lines"):
        it.card(0, 0, 90, 40, "title", ["a", "b", "c"])


def test_the_throttle_s_picture_shows_what_the_page_says() -> None:
    moments = simulated()

    def between(begin: float, end: float) -> list[Moment]:
        return [one for one in moments if begin <= one.minute < end]

    rates = [one.rate for one in between(0, 2)]
    assert rates == sorted(rates) and rates[0] == 10_000_000
    assert any(one.why.startswith("halved: produce took") for one in between(*PEAK))
    assert max(one.rate for one in between(PEAK[0] + 1, PEAK[1])) < 30_000_000
    assert [one.why.split(":")[0] for one in between(*BLIND)][:3] == ["unchanged", "unchanged", "reduced towards the floor"]
    assert between(*BLIND)[-1].rate == 10_000_000 and moments[-1].rate > 60_000_000
