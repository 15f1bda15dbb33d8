"""How the parts stand together, and the course of a run."""

from benchmarks.pictures.drawing import Drawing, width_of


def parts() -> str:
    """Who asks whom."""
    it = Drawing(980, 540, "Doors lead to Temporal; a worker carries out what it keeps, on Kafka, Kubernetes and metrics")
    it.text(20, 34, "Doors", "soft", bold=True)
    it.text(270, 34, "Keeps every run", "soft", bold=True)
    it.text(506, 34, "Does the work", "soft", bold=True)
    it.text(750, 34, "The cluster", "soft", bold=True)
    doors = (
        ("kafka-runbooks", "plan, start, approve, abort"),
        ("page", "a link in an alert"),
        ("temporal", "command and UI"),
        ("schedules", "health, certificates, balance"),
    )
    it.box(8, 42, 214, 326, "dashed")
    for number, (title, line) in enumerate(doors):
        y = 50 + 82 * number
        it.card(20, y, 190, 62, title, [line])
        it.arrow((222, y + 31), (268, y + 31))
    lines = ["runs, step by step", "gates and decisions", "schedules", "one permit a cluster", "", "survives any crash"]
    it.card(270, 50, 170, 308, "Temporal", lines, "blue")
    it.arrow((442, 204), (504, 204), both=True)
    it.text(473, 194, "steps", "soft", size=11.5, anchor="middle")
    it.box(506, 50, 180, 308, "green")
    it.text(596, 76, "worker", size=14, anchor="middle", bold=True)
    it.card(520, 92, 152, 104, "workflows", ["order of steps,", "gate, pause, abort"])
    it.card(520, 240, 152, 104, "activities", ["observe, decide,", "record, act"])
    it.arrow((596, 196), (596, 238), both=True)
    it.card(750, 50, 210, 76, "Kafka", ["reassignments, throttles,", "leaders, health"])
    it.box(750, 146, 210, 212, "card")
    it.text(855, 170, "Kubernetes", size=14, anchor="middle", bold=True)
    it.text(855, 188, "nodes, pods, volumes; plans", "soft", size=11.5, anchor="middle")
    it.text(855, 204, "and ledgers as ConfigMaps", "soft", size=11.5, anchor="middle")
    it.box(762, 218, 186, 128, "dashed")
    it.text(855, 236, "pod, one of many", "soft", size=11.5, anchor="middle")
    it.card(770, 246, 66, 90, "broker")
    it.card(862, 246, 78, 90, "agent", ["ID, rack,", "readiness"])
    it.arrow((862, 291), (837, 291))
    it.card(750, 378, 210, 62, "metrics", ["traffic and request times"])
    it.arrow((686, 292), (718, 292), (718, 88), (748, 88))
    it.arrow((718, 252), (748, 252))
    it.arrow((718, 292), (718, 409), (748, 409))
    it.card(506, 420, 180, 62, "alerts, messages", ["Prometheus, webhook"], "amber")
    it.arrow((596, 358), (596, 418))
    it.card(20, 420, 190, 62, "a person", ["perhaps just woken"], "amber")
    it.arrow((506, 451), (212, 451))
    it.text(358, 443, "a run waits, has failed, or a look found something", "soft", size=10, anchor="middle")
    it.arrow((115, 420), (115, 370))
    it.text(
        20,
        522,
        "Only the worker reaches Kafka and Kubernetes. It may die at any line: the next one goes on from what Temporal has.",
        "soft",
    )
    return it.svg()


def course() -> str:
    """Of a `ReplaceBroker` run."""
    it = Drawing(980, 510, "The course of a ReplaceBroker run, and what is in force meanwhile")
    left, right, top = 20, 960, 54
    it.text(left, 32, "ReplaceBroker: a node is gone, its broker comes back on another one", bold=True, size=15)
    phases = (
        ("permit", 92, ("one run a", "cluster:", "others wait,", "join or fail")),
        ("preflight", 104, ("every reason", "not to start,", "each with", "its remedy")),
        ("gate", 104, ("the frozen plan", "waits for you")),
        ("steps", 440, ()),
        ("exit contract", 124, ("in sync, leads", "again, nothing", "left behind:", "proved")),
    )
    at: dict[str, tuple[float, float]] = {}
    x = float(left)
    for name, width, lines in phases:
        at[name] = (x, x + width)
        kind = {"gate": "amber", "exit contract": "green"}.get(name, "blue")
        it.box(x, top, width, 150, kind)
        it.text(x + width / 2, top + 24, name, size=14, anchor="middle", bold=True)
        for number, line in enumerate(lines):
            it.text(x + width / 2, top + 46 + 17 * number, line, "soft", size=11.5, anchor="middle")
        x += width + 19
        if name != "exit contract":
            it.arrow((x - 18, top + 75), (x - 1, top + 75))
    gate = at["gate"][0]
    it.text(gate + 52, top + 100, "approve", "amber-text", size=11.5, anchor="middle", bold=True)
    it.text(gate + 52, top + 118, "or reject", "amber-text", size=11.5, anchor="middle", bold=True)
    it.text(gate + 52, top + 136, "or give way", "soft", size=11.5, anchor="middle")
    steps = (
        ("fence", "broker", "cordon"),
        ("choose", "a node", "same rack"),
        ("release", "volumes", "proof first"),
        ("new pod", "same ID", "empty disk"),
        ("catch up", "to 100 %", "in sync"),
        ("elect", "leaders", "in batches"),
    )
    begin, end = at["steps"]
    each = (end - begin - 20) / len(steps)
    for number, (first, second, detail) in enumerate(steps):
        box = begin + 10 + each * number
        it.box(box + 2, top + 36, each - 4, 98, "card")
        it.text(box + each / 2, top + 62, first, size=11.5, anchor="middle", bold=True)
        it.text(box + each / 2, top + 80, second, size=11.5, anchor="middle", bold=True)
        it.text(box + each / 2, top + 108, detail, "soft", size=10, anchor="middle")

    def bar(row: int, from_x: float, to_x: float, words: str, kind: str) -> None:
        y = 232 + 38 * row
        it.box(from_x, y, to_x - from_x, 28, kind, radius=6)
        it.text(from_x + 12, y + 19, words, size=12)
        if width_of(words, 12) + 20 > to_x - from_x:
            raise ValueError(f"{words!r} is longer than its bar")

    leases = begin + 10 + each * 2
    bar(0, at["permit"][0] + 46, right, "the permit is held: nobody else works on this cluster; it closes with its run", "blue")
    bar(
        1,
        at["preflight"][0] + 52,
        right,
        "every step is recorded; one that fails is tried again, and status says why it waits",
        "card",
    )
    bar(2, begin, end + 19 + 62, "ledger: what will be set is written first", "amber")
    bar(3, leases, end, "throttle: adapts every 6 s, also in a pause", "green")
    bar(4, begin + 10 + each * 4, begin + 10 + each * 5, "copy", "blue")
    it.text(left, 400, "meanwhile, whenever you like:", "soft", size=12)
    it.text(left, 418, "pause · resume · abort · add brokers · set a throttle", "blue-text", size=12, bold=True)
    it.line([(left, 446), (right, 446)], "red-line")
    ends = "However it ends (done, aborted, cancelled, failed): what the ledger lists is removed, then the permit is free."
    it.text(left, 472, ends, size=12)
    it.text(
        left, 491, "What can't be removed just now is named in the result, and ClearLeftovers removes it later.", "soft", size=12
    )
    return it.svg()
