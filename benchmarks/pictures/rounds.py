"""The rounds of a rolling restart, as the planner makes them of a small cluster."""

from benchmarks.pictures.drawing import Drawing
from benchmarks.rolling_rounds import ZONES, made
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits
from kafka_runbooks.safety.rounds import RESTART_SECONDS, plan_rounds

WIDTH, HEIGHT = 300, 172


def rounds() -> str:
    """A panel for each round: zones side by side, controllers above the maps."""
    observation, nodes = made(12, 80)
    plan = plan_rounds(observation, nodes, RestartLimits())
    assert not plan.blocked and len(plan.rounds) == plan.lower_bound_rounds == 6, plan
    rows = [("controllers", [one for one in nodes if one.is_controller])]
    rows += [(name, [one for one in nodes if one.map == name]) for name in sorted({one.map for one in nodes if one.map})]
    it = Drawing(980, 500, "Six rounds in which twelve brokers and three controllers restart, zone by zone")
    took, singly = plan.makespan_seconds / 60, len(nodes) * RESTART_SECONDS / 60
    words = f"{len(nodes)} nodes restart in {len(plan.rounds)} rounds, {took:.0f} minutes; one after the other takes {singly:.0f}"
    it.text(20, 32, words, size=15, bold=True)
    done: set[int] = set()
    for number, one in enumerate(plan.rounds):
        x, y = 20 + (WIDTH + 20) * (number % 3), 50 + (HEIGHT + 34) * (number // 3)
        _panel(it, x, y, f"round {number + 1}", rows, set(one), done)
        done |= set(one)
    for number, (kind, what) in enumerate((("card", "to come"), ("full", "restarts now"), ("green", "is back, and in sync"))):
        it.box(20 + 150 * number, 472, 16, 16, kind, radius=4)
        it.text(42 + 150 * number, 485, what, "soft", size=12)
    return it.svg()


def _panel(
    it: Drawing, x: float, y: float, title: str, rows: list[tuple[str, list[KafkaNode]]], now: set[int], done: set[int]
) -> None:
    it.box(x, y, WIDTH, HEIGHT + 20, "dashed")
    it.text(x + 12, y + 22, title, bold=True)
    for column, zone in enumerate(ZONES):
        it.text(x + 124 + 66 * column, y + 22, f"zone {zone}", "soft", size=11, anchor="middle")
    for row, (name, nodes) in enumerate(rows):
        top = y + 32 + 31 * row
        it.text(x + 12, top + 17, name, "soft", size=11)
        for node in nodes:
            left = x + 96 + 66 * ZONES.index(node.rack or "")
            kind = "full" if node.id in now else "green" if node.id in done else "card"
            it.box(left, top, 56, 25, kind, radius=5)
            it.text(left + 28, top + 17, str(node.id), "on-full" if kind == "full" else "", size=11, anchor="middle")
