"""What happens in an hour of chaos, drawn from a seed: one round at a time, so that any round can be repeated alone.

Pure. A round is one scenario (runbooks, and what the cluster looks like before them) and what happens to it meanwhile, in seconds
after a run's start. Round 7 of seed 42 is always the same, whatever happened in the six before.
"""

import json
import random
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

EVENTS = (1001, 1002, 1003)
CHECKS = (1004, 1005, 1006)

SCENARIOS = (
    "lost",
    "restarted",
    "substituted",
    "rebalanced",
    "scaled",
    "replication factor",
    "evacuated",
    "plan",
    "recovery",
    "leftovers",
    "same name",
    "rolled",
    "drained",
    "renewed",
)
"""What `scenarios.py` readies a cluster for, each once before any comes again."""

API, TEMPORAL, PERSON = "API server is away", "Temporal is away", "person: "
FAULTS: dict[str, int] = {
    "power cut": 3,
    "broker hangs": 4,
    API: 2,
    TEMPORAL: 2,
    "worker killed": 3,
    "controller killed": 1,
    "Node object deleted": 1,
    "topic deleted": 2,
    "topic made again": 2,
    "partitions added": 1,
    "another tool's reassignment": 2,
    "throttle of another's": 3,
    "list entries of another's": 2,
    "cluster's default throttle": 2,
    PERSON + "pause": 3,
    PERSON + "abort": 1,
    PERSON + "abort with rollback": 1,
    PERSON + "throttle set": 3,
    PERSON + "throttle clear": 1,
}
"""Kind -> how often, among the others."""

NEEDS_API = ("power cut", "controller killed", "Node object deleted")
"""Begin or end with a call of Kubernetes."""
WINDOW_SECONDS = 50.0
"""From a run's start until the last thing begins."""
MOST_ACTS = 6
AFTER_SECONDS = 1.0
"""What was put off by an absence comes so long after it."""


@dataclass(frozen=True)
class Act:
    """One thing that happens.

    Attributes:
        at_seconds: after the run's start.
        seconds: how long it lasts; 0: it is over at once.
        detail: what it happens to, and how strongly.
    """

    at_seconds: float
    kind: str
    seconds: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """A scenario and what happens meanwhile, once for each of its runs.

    Attributes:
        throttle: the input of that name.
        answer: what a person says at the gate when a rest is planned anew.
    """

    number: int
    scenario: str
    throttle: dict[str, Any]
    acts: tuple[Act, ...]
    answer: Literal["approve", "reject"]

    def line(self) -> str:
        """One line of JSON; `parse` reads it."""
        return json.dumps(asdict(self), sort_keys=True)


def parse(line: str) -> Round:
    raw = json.loads(line)
    return Round(**{**raw, "acts": tuple(Act(**act) for act in raw["acts"])})


def draw(seed: int, number: int) -> Round:
    """A seed's round of that number, from 1."""
    cycle, place = divmod(number - 1, len(SCENARIOS))
    deck = list(SCENARIOS)
    random.Random(f"{seed}/deck {cycle}").shuffle(deck)
    chance = random.Random(f"{seed}/round {number}")
    acts = [_act(chance) for _ in range(chance.randint(2, MOST_ACTS))]
    return Round(
        number=number,
        scenario=deck[place],
        throttle=_throttle(chance),
        acts=tuple(sorted(acts, key=lambda act: act.at_seconds)),
        answer=chance.choice(("approve", "approve", "reject")),
    )


def _throttle(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.5:
        return {"mode": "fixed", "rate_bytes_per_s": chance.choice((300_000, 1_000_000, 3_000_000))}
    return {"mode": "adapt", "floor_bytes_per_s": 300_000, "ceiling_bytes_per_s": chance.choice((1_000_000, 5_000_000))}


def _act(chance: random.Random) -> Act:
    (kind,) = chance.choices(list(FAULTS), list(FAULTS.values()))
    at = round(chance.uniform(0, WINDOW_SECONDS), 1)

    def lasts(least: float, most: float) -> float:
        return round(chance.uniform(least, most), 1)

    match kind:
        case "power cut":
            return Act(at, kind, lasts(15, 60), {"broker": chance.choice((*EVENTS, *CHECKS))})
        case "broker hangs":
            return Act(at, kind, lasts(10, 60), {"broker": chance.choice((*EVENTS, *EVENTS, *CHECKS))})
        case "Node object deleted":
            return Act(at, kind, lasts(10, 40), {"broker": chance.choice((*EVENTS, *CHECKS))})
        case "API server is away":
            return Act(at, kind, lasts(3, 40))
        case "Temporal is away":
            return Act(at, kind, lasts(1, 25))
        case "throttle of another's":
            direction = chance.choice(("leader", "follower"))
            return Act(at, kind, 0, {"broker": chance.choice(EVENTS), "direction": direction, "rate": 77_000_000})
        case "list entries of another's":
            entry = f"{chance.randrange(12)}:{chance.choice(CHECKS)}"  # none that a run would set too
            return Act(at, kind, 0, {"direction": chance.choice(("leader", "follower")), "entry": entry})
        case "cluster's default throttle":
            return Act(at, kind, 0, {"direction": chance.choice(("leader", "follower")), "rate": 2_000_000})
        case "person: pause":
            return Act(at, kind, lasts(2, 20))
        case "person: throttle set":
            broker = chance.choice((None, *EVENTS))
            return Act(at, kind, 0, {"broker_id": broker, "rate_bytes_per_s": chance.choice((200_000, 4_000_000))})
        case _:
            return Act(at, kind)


@dataclass(frozen=True, order=True)
class Event:
    """An act's begin, or its end."""

    at_seconds: float
    order: int
    act: Act = field(compare=False)
    is_end: bool = field(compare=False)


def timeline(acts: tuple[Act, ...]) -> tuple[Event, ...]:
    """Begins and ends in order. What needs a server that is away then comes when it is back."""
    away: dict[str, list[tuple[float, float]]] = {API: [], TEMPORAL: []}
    for act in acts:
        if act.kind in away:
            away[act.kind].append((act.at_seconds, act.at_seconds + act.seconds))
    events = []
    for order, act in enumerate(acts):
        server = API if act.kind in NEEDS_API else TEMPORAL if act.kind.startswith(PERSON) else None
        gaps = away.get(server or "", [])
        begins = _put_off(act.at_seconds, gaps)
        events.append(Event(begins, 2 * order, act, False))
        if act.seconds:
            events.append(Event(_put_off(begins + act.seconds, gaps), 2 * order + 1, act, True))
    return tuple(sorted(events))


def _put_off(at: float, gaps: list[tuple[float, float]]) -> float:
    for begins, ends in sorted(gaps):
        if begins - AFTER_SECONDS <= at < ends + AFTER_SECONDS:
            at = ends + AFTER_SECONDS
    return at
