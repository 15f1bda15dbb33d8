"""Every certificate of the lab renewed by the runbook, against a rolling restart for each of the three phases of a new authority.

    uv run python -m benchmarks.certificates --json

It brings the lab up if it isn't, and takes about 15 minutes. Printed are, of six brokers and three controllers:

- `seconds`: the runbook's time for a renewal, from its permit to its proof;
- `later_seconds`: the same for a new authority that everybody trusts and brokers present, as far as that needs no restart;
- `rolling_seconds`: three rolling restarts by our own runbook, which others do for a new authority;
- `restarts`: pods that the first two have restarted;
- `produce_errors`, `records_lost`: of an acks=all producer while they ran.
"""

import time
import uuid
from typing import Any

from kafka_runbooks_lab.lab import Lab

from benchmarks import on_the_lab
from tests.lab import runs
from tests.lab.test_certificates import next_authority
from tests.lab.test_rolling_restart import changed, uids

PHASES = 3


def measure(lab: Lab) -> dict[str, Any]:
    lab.wait_ready()
    runs.ensure_offsets_topic(lab)
    topic = f"events.{uuid.uuid4().hex[:8]}"
    runs.make_topic(lab, topic, records=0)
    before = uids(lab)
    with next_authority(lab):
        with runs.checked_traffic(lab, topic) as renewal:
            seconds = timed("RotateCertificates", mode="renew")
        with runs.checked_traffic(lab, topic) as later:
            later_seconds = timed("RotateCertificates", mode="change-authority", issuer="next", restarts="later")
        restarts = len(changed(lab, before))
        rolling_seconds = sum(timed("RollingRestart") for _ in range(PHASES))
    return {
        "seconds": round(seconds, 1),
        "later_seconds": round(later_seconds, 1),
        "rolling_seconds": round(rolling_seconds, 1),
        "restarts": restarts,
        "produce_errors": renewal["produce_errors"] + later["produce_errors"],
        "records_lost": renewal["lost"] + later["lost"],
        "records": renewal["acknowledged"] + later["acknowledged"],
    }


def timed(runbook: str, **fields: Any) -> float:
    run, began = runs.fresh(), time.monotonic()
    runs.start(run, runs.ask(reason="benchmark", **fields), runbook)
    runs.holds(runs.outcome(run, seconds=900))
    return time.monotonic() - began


if __name__ == "__main__":
    on_the_lab.main(__doc__, measure)
