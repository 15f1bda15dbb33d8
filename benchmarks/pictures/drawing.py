"""SVG by hand: boxes, arrows and text that follow the reader's light or dark theme, and text that can't leave its box."""

from collections.abc import Sequence
from html import escape

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

STYLE = """
  svg { --back: #ffffff; --ink: #1b1f24; --soft: #59636e; --line: #b8c2cc; --card: #f3f5f7; --blue: #0b63c5; --pale: #d9e9fc;
    --green: #11783a; --mint: #dff3e5; --amber: #a15c00; --sand: #fdf0d5; --red: #b3131b; }
  @media (prefers-color-scheme: dark) {
    svg { --back: #14191f; --ink: #e8edf2; --soft: #9aa5b1; --line: #47525e; --card: #1f262e; --blue: #6cb0ff; --pale: #17365c;
      --green: #7ddb95; --mint: #15351f; --amber: #f2c265; --sand: #3a2c0c; --red: #ff9a96; }
  }
  text { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }
  .back { fill: var(--back); } .ink { fill: var(--ink); } .soft { fill: var(--soft); }
  .card { fill: var(--card); stroke: var(--line); } .blue { fill: var(--pale); stroke: var(--blue); }
  .green { fill: var(--mint); stroke: var(--green); } .amber { fill: var(--sand); stroke: var(--amber); }
  .dashed { fill: none; stroke: var(--line); stroke-dasharray: 5 4; } .full { fill: var(--blue); stroke: var(--blue); }
  .grey { fill: var(--line); stroke: none; } .on-full { fill: var(--back); }
  .arrow { fill: none; stroke: var(--soft); stroke-width: 1.6; } .head { fill: var(--soft); }
  .line { fill: none; stroke: var(--line); } .blue-line { fill: none; stroke: var(--blue); stroke-width: 2; }
  .amber-line { fill: none; stroke: var(--amber); stroke-width: 2; }
  .red-line { fill: none; stroke: var(--red); stroke-width: 1.4; stroke-dasharray: 6 4; } .red { fill: var(--red); }
  .mark { fill: none; stroke: var(--soft); stroke-dasharray: 2 4; }
  .shade { fill: var(--sand); }
  .blue-text { fill: var(--blue); } .amber-text { fill: var(--amber); } .green-text { fill: var(--green); }
"""


def width_of(words: str, size: float, *, bold: bool = False) -> float:
    """In DejaVu Sans, the widest of the fonts that readers have."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return float(TextPath((0, 0), words, size=size, prop=font).get_extents().width) if words.strip() else 0.0


class Drawing:
    """One picture.

    Args:
        width: in units that are CSS pixels at full size.
        height: the same.
        title: what it shows, for those who can't see it.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self._width, self._height = width, height
        self._parts = [f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>"]
        self.box(0, 0, width, height, "back", radius=0)

    def box(self, x: float, y: float, width: float, height: float, kind: str = "card", *, radius: float = 8) -> None:
        """A rectangle."""
        size = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
        self._parts.append(f'<rect {size} rx="{radius:g}" class="{kind}"/>')

    def text(
        self, x: float, y: float, words: str, kind: str = "", *, size: float = 13, anchor: str = "start", bold: bool = False
    ) -> None:
        """A line of text; `y` is its baseline. One that would leave the picture is an error."""
        width = width_of(words, size, bold=bold)
        left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        if left < 0 or left + width > self._width or y > self._height:
            raise ValueError(f"{words!r} leaves the picture")
        weight = ' font-weight="600"' if bold else ""
        where = f'x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}"'
        self._parts.append(f'<text {where}{weight} class="{kind}">{escape(words)}</text>')

    def card(
        self, x: float, y: float, width: float, height: float, title: str, lines: Sequence[str] = (), kind: str = "card"
    ) -> None:
        """A box with a title and some lines, in its middle. A line that is longer than the box is an error."""
        self.box(x, y, width, height, kind)
        for words, size in ((title, 14.0), *((line, 11.5) for line in lines)):
            if width_of(words, size, bold=words is title) > width - 8:
                raise ValueError(f"{words!r} is longer than its box")
        if 18 + 16 * len(lines) > height:
            raise ValueError(f"{title!r} has more lines than its box")
        at = y + height / 2 - 8 * len(lines) + 5
        self.text(x + width / 2, at, title, size=14, anchor="middle", bold=True)
        for number, line in enumerate(lines):
            self.text(x + width / 2, at + 17 + 16 * number, line, "soft", size=11.5, anchor="middle")

    def arrow(self, *points: tuple[float, float], both: bool = False, kind: str = "arrow") -> None:
        """A line along these points, with a head at its end, or at both."""
        self.line(points, kind)
        for tip, before in ((points[-1], points[-2]), *(((points[0], points[1]),) if both else ())):
            (x, y), dx, dy = tip, tip[0] - before[0], tip[1] - before[1]
            length = (dx * dx + dy * dy) ** 0.5
            ux, uy = dx / length, dy / length
            base_x, base_y = x - 9 * ux, y - 9 * uy
            corners = [(x, y), (base_x - 4.5 * uy, base_y + 4.5 * ux), (base_x + 4.5 * uy, base_y - 4.5 * ux)]
            self._parts.append(f'<polygon points="{_points(corners)}" class="head"/>')

    def line(self, points: Sequence[tuple[float, float]], kind: str = "line") -> None:
        """A line along these points."""
        self._parts.append(f'<polyline points="{_points(points)}" class="{kind}"/>')

    def area(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """What these points enclose."""
        self._parts.append(f'<polygon points="{_points(points)}" class="{kind}"/>')

    def svg(self) -> str:
        """The file."""
        size = f'viewBox="0 0 {self._width} {self._height}" width="{self._width}" height="{self._height}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n' + "\n".join(self._parts) + "\n</svg>\n"


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{round(x, 1):g},{round(y, 1):g}" for x, y in points)
