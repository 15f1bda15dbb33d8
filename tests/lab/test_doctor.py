"""`doctor` on the lab: a cluster deployed as users deploy it has no fault; a right that is taken away is named."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka_runbooks_lab.lab import Lab

from tests.lab import runs


def faults() -> dict[str, str]:
    """Fault -> what mends it."""
    done = runs.runbook("doctor", "lab", "-o", "json")
    checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    found = {check["fault"]: check["remedy"] for check in checks if check["fault"]}
    assert done.returncode == (1 if found else 0)
    return found


@contextmanager
def without_the_right_to_delete_pods(lab: Lab) -> Iterator[None]:
    role = ("-n", "kafka", "role", "kafka-runbooks-worker")
    before = json.loads(lab.kubectl("get", *role, "-o", "json"))["rules"]
    rules = [
        rule | {"verbs": [verb for verb in rule["verbs"] if rule["resources"] != ["pods"] or verb != "delete"]} for rule in before
    ]
    patch = ("patch", *role, "--type", "merge", "-p")
    lab.kubectl(*patch, json.dumps({"rules": rules}))
    try:
        yield
    finally:
        lab.kubectl(*patch, json.dumps({"rules": before}))


def test_the_lab_has_no_fault_and_a_missing_verb_is_named(lab: Lab) -> None:
    assert faults() == {}
    with without_the_right_to_delete_pods(lab):
        (found,) = faults().items()
        assert found[0] == "the worker may not delete pods in namespace kafka"
        assert '{apiGroups: [""], resources: [pods], verbs: [delete]}' in found[1]
    assert faults() == {}
