"""Flow relaxation: tighter bounds, with the heaviest partitions whole and the rest as flows that respect the racks of each set.

The LP relaxation knows what each rack must and may hold in total. Where replication factors are mixed over racks of unequal
size that is too little: how much can leave one rack for another depends on which racks each set spans already. And it splits
even a partition that fills most of a disk. Here all sets of one shape (replication factor, and the racks or, in small
clusters, the brokers that they are on) form one flow, and the heaviest partitions are 0-1 variables: a mixed-integer program
of some hundred variables, solved by HiGHS, limited by nodes, not by time. Where the limit is hit its dual bound still holds.
It runs only where the quick bound doesn't show a plan to be good, and it never decides an assignment: another machine may at
worst report another figure.
"""

from dataclasses import dataclass, field

import highspy
import numpy as np

from kafka_runbooks.placement.arrays import Indices, Ints, loads
from kafka_runbooks.placement.bounds import highs
from kafka_runbooks.placement.problem import Problem

MOST_RACKS = 8
"""Beyond, there are too many shapes of sets, and racks are ignored (a cluster without racks has one per broker)."""
MOST_FLOWS = 6_000
"""Shapes x brokers up to which sets are distinguished by their brokers, not only by their racks."""
MOST_CHOICES = 400
"""Heavy partitions x brokers."""
HEAVY = 0.02
"""A partition is heavy from this share of the average load on: lighter ones behave almost like a flow."""
MOST_NODES = 300
SAFETY = 1e-6
"""Relative margin for what the solver's tolerances may add to a bound."""


def least_moved(problem: Problem, kept: Indices, spread: float) -> int:
    """Bytes that any assignment with this spread must copy (load is bytes); 0 where no bound was found."""
    program = _Program(problem, kept)
    program.window(spread)
    found = program.solve()
    return 0 if found is None else max(0, int(found * program.unit * (1 - SAFETY)))


def best_spread(problem: Problem, kept: Indices) -> float:
    """A spread that no assignment beats, with kept replicas moving freely; 0 where no bound was found."""
    program = _Program(problem, kept)
    program.window(None)
    found = program.solve()
    return 0.0 if found is None else max(0.0, found - SAFETY) * program.unit / program.width_unit


@dataclass
class _Rows:
    """Rows of the program, collected to be passed to the solver all at once."""

    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, lower: float, upper: float, terms: dict[int, float]) -> None:
        self.starts.append(len(self.columns))
        self.columns += terms.keys()
        self.values += terms.values()
        self.lower.append(lower)
        self.upper.append(upper)


class _Program:
    """Loads are in units of the average broker's load, levels in that over the average width."""

    def __init__(self, problem: Problem, kept: Indices) -> None:
        cluster = problem.cluster
        self.problem = problem
        self.brokers = np.nonzero(problem.allowed)[0]
        self.names, self.rack = np.unique(cluster.racks[self.brokers], return_inverse=True)
        scope = np.nonzero(problem.scope & (problem.weight > 0))[0]
        self.weight, self.kept = problem.weight[scope], kept[scope]
        self.factor, self.required_racks = problem.replication[scope], problem.required_racks[scope]
        self.even = problem.most_in_rack[scope]
        fixed = problem.base + loads(kept[~problem.scope], problem.weight[~problem.scope], cluster.broker_count)
        total = float(fixed[self.brokers].sum() + (self.weight * self.factor).sum())
        self.unit = max(1.0, total / len(self.brokers))
        self.width_unit = float(problem.width[self.brokers].mean())
        self.width = problem.width[self.brokers] / self.width_unit
        self.fixed = fixed[self.brokers] / self.unit
        self.held = loads(self.kept, self.weight, cluster.broker_count)[self.brokers] / self.unit
        self.cost: list[float] = []
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.whole: list[bool] = []
        self.rows = _Rows()
        count = len(self.brokers)
        self.lowest, self.highest = self._variable(-np.inf), self._variable(-np.inf)
        self.arrives = [self._variable() for _ in range(count)]
        self.departs = [self._variable(upper=float(held)) for held in self.held]
        self.heavy = self._heavy()
        self.chosen = {h: [self._variable(upper=1.0, whole=True) for _ in range(count)] for h in self.heavy}
        self._brokers()
        self._rules()
        shapes, amount = self._shapes(np.sort(self.kept, axis=1))
        if len(shapes) * count <= MOST_FLOWS:
            self._between_brokers(shapes, amount)
        elif len(self.names) <= MOST_RACKS:
            self._between_racks()
        else:
            placed = float((self.weight * (self.factor - (self.kept >= 0).sum(axis=1))).sum()) / self.unit
            self.rows.add(placed, placed, {**dict.fromkeys(self.arrives, 1.0), **dict.fromkeys(self.departs, -1.0)})

    def _variable(self, lower: float = 0.0, upper: float = np.inf, *, whole: bool = False) -> int:
        self.cost.append(0.0)
        self.lower.append(lower)
        self.upper.append(upper)
        self.whole.append(whole)
        return len(self.cost) - 1

    def _heavy(self) -> list[int]:
        """The heaviest partitions, up to the size limit of the program."""
        most = MOST_CHOICES // max(1, len(self.brokers))
        order = np.argsort(-self.weight, kind="stable")[:most]
        return [int(h) for h in order if self.weight[h] > HEAVY * self.unit]

    def _brokers(self) -> None:
        """Each broker's load: within the window, and no less than its heavy replicas."""
        brokers = self.brokers.tolist()
        for j, broker in enumerate(brokers):
            on_top = {self.arrives[j]: 1.0, self.departs[j]: -1.0}
            level = float(self.fixed[j] + self.held[j])
            self.rows.add(-level, np.inf, {**on_top, self.lowest: -float(self.width[j])})
            self.rows.add(-np.inf, -level, {**on_top, self.highest: -float(self.width[j])})
            here = {h: float(self.weight[h]) / self.unit for h in self.heavy}
            if not here:
                continue
            stays = {h for h in here if broker in self.kept[h].tolist()}
            self.rows.add(-float(self.held[j]), np.inf, {**on_top, **{self.chosen[h][j]: -w for h, w in here.items()}})
            self.rows.add(0.0, np.inf, {
                self.arrives[j]: 1.0, **{self.chosen[h][j]: -w for h, w in here.items() if h not in stays}})  # fmt: skip
            self.rows.add(sum(here[h] for h in stays), np.inf, {
                self.departs[j]: 1.0, **{self.chosen[h][j]: here[h] for h in stays}})  # fmt: skip
        for h, variables in self.chosen.items():
            self.rows.add(float(self.factor[h]), float(self.factor[h]), dict.fromkeys(variables, 1.0))

    def _rules(self) -> None:
        """P x R: replicas of each partition that each rack has, must have and may have."""
        count, racks = len(self.brokers), len(self.names)
        size = np.bincount(self.rack, minlength=racks)
        position = np.full(self.problem.cluster.broker_count, -1, dtype=np.int64)
        position[self.brokers] = self.rack
        at = np.where(self.kept >= 0, position[np.maximum(self.kept, 0)], -1)
        self.in_rack = np.stack([(at == r).sum(axis=1) for r in range(racks)], axis=1)
        self.least = np.maximum(
            (self.required_racks == racks).astype(np.int64)[:, None], self.factor[:, None] - (count - size)[None, :]
        )
        self.most = np.minimum((self.factor - np.maximum(self.required_racks, 1) + 1)[:, None], size[None, :])
        even = self.even[:, None] > 0
        self.least = np.where(even, np.maximum(self.least, np.minimum(self.even[:, None] - 1, size[None, :])), self.least)
        self.most = np.where(even, np.minimum(self.most, np.minimum(self.even[:, None], size[None, :])), self.most)
        if self.problem.within_racks:
            self.least = self.most = self.in_rack
        for h, variables in self.chosen.items():
            for r in range(racks):
                inside = {v: 1.0 for v, rack in zip(variables, self.rack.tolist(), strict=True) if rack == r}
                self.rows.add(float(self.least[h][r]), float(self.most[h][r]), inside)

    def _shapes(self, where: Ints | Indices) -> tuple[list[list[int]], list[float]]:
        """The distinct shapes of sets (least and most by rack, replication factor, `where`), and the load of each shape."""
        light = np.ones(len(self.weight), dtype=np.bool_)
        light[self.heavy] = False
        columns = np.concatenate([self.least, self.most, self.factor[:, None], where], axis=1)[light]
        shapes, shape = np.unique(columns, axis=0, return_inverse=True)
        amount = np.zeros(len(shapes))
        np.add.at(amount, shape.ravel(), self.weight[light] / self.unit)
        return shapes.tolist(), amount.tolist()

    def _between_brokers(self, shapes: list[list[int]], amount: list[float]) -> None:
        """Flows between brokers: none holds a partition twice, and a rack as much of it as the rack rule allows."""
        racks, brokers = len(self.names), self.brokers.tolist()
        into: list[dict[int, float]] = [{self.arrives[j]: 1.0} for j in range(len(brokers))]
        out: list[dict[int, float]] = [{self.departs[j]: 1.0} for j in range(len(brokers))]
        leaves = [0.0] * len(brokers)
        for row, load in zip(shapes, amount, strict=True):
            low, high, factor, members = row[:racks], row[racks : 2 * racks], row[2 * racks], set(row[2 * racks + 1 :])
            holds = [self._variable(upper=load) for _ in brokers]
            self.rows.add(factor * load, factor * load, dict.fromkeys(holds, 1.0))
            for r in range(racks):
                inside = {v: 1.0 for v, rack in zip(holds, self.rack.tolist(), strict=True) if rack == r}
                self.rows.add(low[r] * load, high[r] * load, inside)
            for j, broker in enumerate(brokers):
                if broker in members:
                    out[j][holds[j]] = 1.0
                    leaves[j] += load
                else:
                    into[j][holds[j]] = -1.0
        for h, variables in self.chosen.items():
            weight, members = float(self.weight[h]) / self.unit, set(self.kept[h].tolist())
            for j, broker in enumerate(brokers):
                if broker in members:
                    out[j][variables[j]] = weight
                    leaves[j] += weight
                else:
                    into[j][variables[j]] = -weight
        for j in range(len(brokers)):
            self.rows.add(0.0, 0.0, into[j])
            self.rows.add(leaves[j], leaves[j], out[j])

    def _between_racks(self) -> None:
        """Flows between racks: sets of one shape form one flow, of which a rack holds what the rack rule allows."""
        count, racks = len(self.brokers), len(self.names)
        shapes, amount = self._shapes(self.in_rack)
        net: list[dict[int, float]] = [{} for _ in range(racks)]
        into: list[dict[int, float]] = [{} for _ in range(racks)]
        out: list[dict[int, float]] = [{} for _ in range(racks)]
        for row, load in zip(shapes, amount, strict=True):
            low, high, factor, had = row[:racks], row[racks : 2 * racks], row[2 * racks], row[2 * racks + 1 :]
            come = [self._variable(upper=max(0, high[r] - had[r]) * load) for r in range(racks)]
            go = [self._variable(upper=max(0, had[r] - low[r]) * load) for r in range(racks)]
            missing = (factor - sum(had)) * load
            self.rows.add(missing, missing, {**dict.fromkeys(come, 1.0), **dict.fromkeys(go, -1.0)})
            for r in range(racks):
                net[r] |= {come[r]: 1.0, go[r]: -1.0}
                into[r][come[r]] = out[r][go[r]] = 1.0
        constant = np.zeros(racks)
        for h, variables in self.chosen.items():
            weight = float(self.weight[h]) / self.unit
            for r in range(racks):
                inside = {variables[j]: weight for j in range(count) if self.rack[j] == r}
                net[r] |= inside
                constant[r] -= weight * int(self.in_rack[h][r])
                members = set(self.kept[h].tolist())
                into[r] |= {v: weight for j, v in enumerate(variables) if v in inside and int(self.brokers[j]) not in members}
        for r in range(racks):
            inside_rack = [j for j in range(count) if self.rack[j] == r]
            arrives = {self.arrives[j]: 1.0 for j in inside_rack}
            departs = {self.departs[j]: 1.0 for j in inside_rack}
            self.rows.add(float(constant[r]), float(constant[r]), {
                **arrives, **dict.fromkeys(departs, -1.0), **{v: -value for v, value in net[r].items()}})  # fmt: skip
            self.rows.add(0.0, np.inf, {**arrives, **{v: -value for v, value in into[r].items()}})
            self.rows.add(0.0, np.inf, {**departs, **{v: -value for v, value in out[r].items()}})

    def window(self, spread: float | None) -> None:
        """Set the objective: the fewest bytes for a window of this spread; or, for None, the narrowest window."""
        if spread is None:
            self.cost[self.highest], self.cost[self.lowest] = 1.0, -1.0
            return
        wide = (spread + 1e-9) * self.width_unit / self.unit
        self.rows.add(-np.inf, wide, {self.highest: 1.0, self.lowest: -1.0})
        for variable in self.arrives:
            self.cost[variable] = 1.0

    def solve(self) -> float | None:
        """The bound, in the program's units; None where none was found."""
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(self.cost), len(self.rows.lower)
        model.col_cost_, model.col_lower_, model.col_upper_ = map(np.array, (self.cost, self.lower, self.upper))
        model.row_lower_, model.row_upper_ = np.array(self.rows.lower), np.array(self.rows.upper)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.array([*self.rows.starts, len(self.rows.columns)], dtype=np.int32)
        model.a_matrix_.index_ = np.array(self.rows.columns, dtype=np.int32)
        model.a_matrix_.value_ = np.array(self.rows.values)
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        if any(self.whole):
            model.integrality_ = [kinds[whole] for whole in self.whole]
        solver = highs.silent(MOST_NODES)
        solver.passModel(model)
        solver.run()
        status, info = solver.getModelStatus(), solver.getInfo()
        if any(self.whole):
            bound = float(info.mip_dual_bound)
            return bound if np.isfinite(bound) and abs(bound) < 1e20 else None
        return float(info.objective_function_value) if status == highspy.HighsModelStatus.kOptimal else None
