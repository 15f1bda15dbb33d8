"""Hours of chaos: random runbooks under random faults, with checked traffic, until `SOAK_SECONDS` are over.

A seed gives what happens (`chaos/schedule.py`). Each round readies the lab for a scenario, starts its runs and, while they run,
breaks what may break at any time and does what people do. After each run somebody who doesn't ask the runbooks
(`chaos/observe.py`) looks for what it has left: nothing but what its result names, and a person's settings as they were. When the
faults are over, `ClearLeftovers` takes what was named, the cluster is whole, and every acknowledged record is there.

    CHAOS_SEED=7 SOAK_SECONDS=600 pytest tests/lab/test_chaos.py
    CHAOS_SEED=7 CHAOS_ROUNDS=12 pytest tests/lab/test_chaos.py        (that round alone; 12-14: those)

`build/chaos/` has the log, with a line of JSON for each round drawn, and the figures.
"""

import json
import os
import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from typing import Any

import pytest
from kafka_runbooks_lab import paths
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.chaos import observe, scenarios
from tests.lab.chaos.audit import Silence, judge
from tests.lab.chaos.faults import Faults, NotNow, doomed_rows
from tests.lab.chaos.scenarios import Start
from tests.lab.chaos.schedule import Act, Event, Round, draw, timeline
from tests.lab.runs import ask, checked_traffic, eventually, fresh

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "3600"))
SEED = int(os.environ.get("CHAOS_SEED", str(random.SystemRandom().randrange(1_000_000))))
ROUNDS = os.environ.get("CHAOS_ROUNDS", "")
FOLDER = paths.CHECKOUT / "build/chaos"
RUN_SECONDS = 300.0
"""For a run to end after the last fault; one that then says why it waits is aborted, one that doesn't hangs."""
ABORT_SECONDS = 180.0
SILENT_SECONDS = 60.0
"""A status that neither moves nor says why it waits, for so long, is a fault."""
ROUND_SECONDS = 1500.0

# Tables of kills and the single faults: test_kills.py, test_replace_broker.py, test_moves.py. Here they meet.
pytestmark = [pytest.mark.soak, pytest.mark.timeout(SOAK_SECONDS + 2 * ROUND_SECONDS)]


@dataclass
class Figures:
    """What an hour has shown."""

    seed: int
    rounds: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    """Runbook and outcome."""
    faults: dict[str, int] = field(default_factory=dict)
    produced: int = 0
    refused: int = 0
    """Records that Kafka did not acknowledge."""
    lost: int = 0
    named: int = 0
    unnamed: int = 0
    longest_run_seconds: float = 0.0
    longest_silence_seconds: float = 0.0
    most_plans_kept: int = 0
    failures: list[str] = field(default_factory=list)

    def write(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "figures.json").write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")


def say(text: str) -> None:
    """Into the log, and for pytest to show where the test fails."""
    line = f"{time.strftime('%H:%M:%S')} {text}"
    print(line)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "log").open("a") as file:
        file.write(line + "\n")


class Chaos:
    """One round after the other; what is wrong is collected, and a cluster that can't be made whole ends it all."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab = lab
        self.figures = Figures(seed)
        self._round: Round | None = None

    def wrong(self, text: str) -> None:
        assert self._round is not None
        line = f"CHAOS_SEED={self.figures.seed} CHAOS_ROUNDS={self._round.number} ({self._round.scenario}): {text}"
        say(f"WRONG {line}")
        self.figures.failures.append(line)
        self.figures.write()

    def round(self, drawn: Round) -> None:
        self._round = drawn
        say(f"round {drawn.line()}")
        lab = self._lab
        name = runs.uneven_topic(lab, 3_000)
        faults = Faults(lab, name, f"{name}.doomed", f"check_runs.{name.removeprefix('events.')}")
        runs.make_topic(lab, f"{name}.traffic", records=0)
        runs.create_topic(lab, faults.doomed, doomed_rows())
        runs.create_topic(lab, faults.foreign, [[1004, 1005]])
        runs.fill(lab, faults.doomed, 400)
        lines: list[str] = []
        with scenarios.ready(lab, drawn, faults) as starts:
            with checked_traffic(lab, f"{name}.traffic") as traffic:
                for start in starts:
                    result = self._run(drawn, start, faults)
                    lines += result.get("left_behind", [])
                    self._audit(faults, lines, "after the run")
                scenarios.make_whole(lab, faults)
                self._clear(faults, lines)
            self._count(traffic)
            runs.delete_topics(lab, *[one for one in (name, f"{name}.traffic", faults.foreign) if one in _topics(lab)])
            with suppress(AssertionError):
                runs.delete_topics(lab, faults.doomed)
        scenarios.make_whole(lab, faults)
        self.figures.rounds += 1
        self.figures.most_plans_kept = max(self.figures.most_plans_kept, observe.plans(lab))
        self.figures.write()

    def _run(self, drawn: Round, start: Start, faults: Faults) -> dict[str, Any]:
        run = fresh()
        fields = start.fields if start.runbook not in ("ThrottleRecovery", "ClearLeftovers") else None
        asked = ask(**start.fields) if fields is not None else json.dumps({**json.loads(runs.plain()), **start.fields})
        say(f"  {run} {start.runbook} {asked}")
        runs.start(run, asked, start.runbook)
        watch = _Watch(self, run, drawn)
        began = time.monotonic()
        events = list(timeline(drawn.acts))
        if start.later is not None:
            at, what, act = start.later
            events = sorted([*events, Event(at, len(events) + 1000, Act(at, what), False)])
            faults.more[what] = act
        happening: dict[int, Future[bool]] = {}
        with ThreadPoolExecutor(8) as hands:  # what blocks, since a broker is down, keeps nothing else from happening
            while not watch.is_over():
                now = time.monotonic() - began
                while events and now >= events[0].at_seconds:
                    event = events.pop(0)
                    begun = happening.get(event.order - 1) if event.is_end else None
                    happening[event.order] = hands.submit(self._happens, event, faults, run, begun)
                if not events and watch.gives_up(now):
                    break
                time.sleep(1)
            for event in events:  # what has begun ends
                begun = happening.get(event.order - 1)
                if (event.is_end and begun is not None) or event.act.kind in faults.more:
                    hands.submit(self._happens, event, faults, run, begun)
        self._try(faults.heal, "heal")
        result = watch.result()
        seconds = time.monotonic() - began
        _count_one(self.figures.runs, f"{start.runbook}: {result['outcome']}")
        self.figures.longest_run_seconds = max(self.figures.longest_run_seconds, round(seconds))
        self.figures.longest_silence_seconds = max(self.figures.longest_silence_seconds, round(watch.silence.longest_seconds))
        say(f"  {result['outcome']} after {seconds:.0f} s: {result.get('summary')} {result.get('left_behind', '')}")
        if watch.silence.longest_seconds > SILENT_SECONDS:
            self.wrong(f"{run}: the status stood still for {watch.silence.longest_seconds:.0f} s at {watch.silence.where}")
        broken = [check for check in result.get("checks", []) if not check["holds"]]
        if result["outcome"] == "done" and broken:
            self.wrong(f"{run}: done, and the contract is broken: {broken}")
        return result

    def _happens(self, event: Event, faults: Faults, run: str, begun: "Future[bool] | None") -> bool:
        """Whether it did. An end comes after its begin, and only where that happened."""
        if event.is_end and not (begun and begun.result()):
            return False
        what = f"{event.act.kind} {event.act.detail or ''}{' is over' if event.is_end else ''}"
        try:
            faults.end(event.act, run) if event.is_end else faults.begin(event.act, run)
        except NotNow as reason:
            say(f"    {what}: not now, {reason}")
            return False
        except Exception as error:  # a broker or a server that is away: that is chaos too
            say(f"    {what}: {_short(error)}")
            return False
        say(f"    {what}")
        if not event.is_end:
            _count_one(self.figures.faults, event.act.kind)
        return True

    def _try(self, act: Any, what: str) -> None:
        try:
            act()
        except Exception as error:
            say(f"    {what}: {_short(error)}")

    def _audit(self, faults: Faults, lines: list[str], when: str) -> bool:
        """Whether nothing is left that is nobody's."""
        with suppress(AssertionError):
            expected = 6 - len(faults.lost_nodes)
            eventually("every broker is there", 60, lambda: len(runs.brokers(self._lab)) >= expected)
        found = observe.everything(self._lab)
        faults.settle(found)
        verdict = judge(found, faults.theirs, lines)
        if verdict.unnamed:  # metadata of a moment ago
            time.sleep(5)
            found = observe.everything(self._lab)
            verdict = judge(found, faults.theirs, lines)
        for one in set(verdict.unnamed) - faults.reported:
            faults.reported.add(one)
            self.wrong(f"{when}: owned by a run that has ended, and in no result: {one}")
        for one in verdict.lost:
            self.wrong(f"{when}: a person's setting is gone: {one}")
        faults.theirs -= set(verdict.lost)
        self.figures.named += len(verdict.named)
        self.figures.unnamed = len([line for line in self.figures.failures if "in no result" in line])
        if verdict.named:
            say(f"  left and named: {'; '.join(map(str, verdict.named))}")
        return not verdict.named and not verdict.unnamed

    def _clear(self, faults: Faults, lines: list[str]) -> None:
        """What was named goes with `ClearLeftovers`; what then is there is a person's."""
        runs.end_open()
        if not self._audit(faults, lines, "when the cluster is whole"):
            done = runs.runbook("start", "ClearLeftovers", "--input", runs.plain(), "--wait", "-o", "json", seconds=200)
            say(f"  ClearLeftovers: {done.returncode} {done.stdout[-300:]} {done.stderr[-300:]}")
            self._audit(faults, [], "after ClearLeftovers")
            for one in judge(observe.everything(self._lab), faults.theirs, ()).unnamed:
                self._try(partial(faults.remove, one), f"removed by hand: {one}")
        self._try(faults.undo_theirs, "a person takes back what they have set")
        for node in json.loads(self._lab.kubectl("get", "nodes", "-o", "json"))["items"]:
            if node["spec"].get("unschedulable"):
                self._lab.kubectl("uncordon", node["metadata"]["name"])
        try:
            eventually("nothing moves", 120, lambda: not runs.moving(self._lab))
        except AssertionError:
            say(f"  still moving: {observe.kafka(self._lab)['moving']}")

    def _count(self, traffic: dict[str, Any]) -> None:
        self.figures.produced += traffic["acknowledged"]
        self.figures.refused += traffic["produce_errors"]
        self.figures.lost += traffic["lost"]
        say(f"  {traffic}")
        if traffic["lost"]:
            self.wrong(f"{traffic['lost']} acknowledged records are lost")


class _Watch:
    """A person at one run: reads its status, answers at its gate, and gives up on it in the end."""

    def __init__(self, chaos: Chaos, run: str, drawn: Round) -> None:
        self._chaos = chaos
        self._run = run
        self._drawn = drawn
        self._gives_up_at: float | None = None
        self._was_aborted = False
        self._looked_at = 0.0
        self._last: dict[str, Any] = {}
        self.silence = Silence()

    def is_over(self) -> bool:
        """Look, and do what a person would."""
        if time.monotonic() - self._looked_at < 4:
            return False
        self._looked_at = time.monotonic()
        try:
            if runs.is_closed(self._run):
                return True
            status = runs.status(self._run)
        except Exception:  # Temporal is away
            status = {}
        self.silence.see(time.monotonic(), status)
        if status and status != self._last:
            waiting = status.get("waiting") or {}
            if (self._last.get("step"), (self._last.get("waiting") or {}).get("unblocks")) != (
                status.get("step"),
                waiting.get("unblocks"),
            ):
                say(f"    … {status['phase']}: {status['step']}{' waits: ' + waiting['reason'] if waiting else ''}")
            self._last = status
        if status.get("phase") == "gate" and status.get("waiting"):
            self._answer(status)
        if "is yours" in ((status.get("waiting") or {}).get("reason") or ""):
            say("    the drained node is handed back")
            runs.try_update(self._run, "uncordon")
        return False

    def _answer(self, status: dict[str, Any]) -> None:
        risks = [reason["name"] for reason in status["reasons"]]
        if self._drawn.answer == "reject" or not all(reason["can_be_acknowledged"] for reason in status["reasons"]):
            say("    rejected at the gate")
            runs.try_update(self._run, "reject")
            return
        say(f"    approved at the gate, with {risks}")
        with suppress(AssertionError):
            runs.update(self._run, "approve", acknowledged_risks=risks)

    def gives_up(self, now: float) -> bool:
        """After the last fault a run has `RUN_SECONDS`; what then waits and says why is aborted."""
        if self._gives_up_at is None:
            self._gives_up_at = now + RUN_SECONDS
        if now < self._gives_up_at:
            return False
        waiting = self._last.get("waiting")
        if self._was_aborted or not waiting:
            self._chaos.wrong(f"{self._run} hangs: {json.dumps(self._last)[:1500]}")
            with suppress(AssertionError):
                runs.temporal("workflow", "terminate", "-w", self._run, "--reason", "chaos: it hangs")
            return True
        say(f"    it still waits, is aborted: {waiting['reason']}; {waiting['unblocks']}")
        runs.try_update(self._run, "resume")
        if not runs.try_update(self._run, "abort"):
            say("    the abort was refused")
        self._was_aborted, self._gives_up_at = True, now + ABORT_SECONDS
        return False

    def result(self) -> dict[str, Any]:
        with suppress(Exception):
            return runs.outcome(self._run, 120)
        self._chaos.wrong(f"{self._run} has no result")
        return {"outcome": "none", "summary": "", "left_behind": []}


def _count_one(figures: dict[str, int], name: str) -> None:
    figures[name] = figures.get(name, 0) + 1


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[-1][-300:]


def _topics(lab: Lab) -> set[str]:
    return {name.rsplit("-", 1)[0] for name in runs.assignment(lab)}


def _numbers() -> Any:
    if not ROUNDS:
        return count(1)
    first, _, last = ROUNDS.partition("-")
    return range(int(first), int(last or first) + 1)


def test_random_runbooks_under_random_faults(lab: Lab) -> None:
    say(f"CHAOS_SEED={SEED}")
    ends = time.monotonic() + SOAK_SECONDS
    chaos = Chaos(lab, SEED)
    lab.wait_ready()
    runs.ensure_offsets_topic(lab)
    for number in _numbers():
        if time.monotonic() > ends:
            break
        chaos.round(draw(SEED, number))
    say(json.dumps(asdict(chaos.figures)))
    assert chaos.figures.rounds and not chaos.figures.failures, "\n".join(chaos.figures.failures)
