"""A Prometheus in the lab that scrapes the brokers, for runbooks that take their metrics from one; on request only.

`python -m kafka_runbooks_lab.prometheus` (the lab being up) builds it once, deploys it and waits: one pod on the system node,
with the manifest that users deploy. It answers at `URL` to every pod and to `kafka-runbooks-lab exec`; it goes with the lab.

It is built from Go's module proxy because Debian's build has no Kubernetes service discovery.
"""

import sys
from pathlib import Path

from kafka_runbooks_lab import builds, paths
from kafka_runbooks_lab.errors import LabError
from kafka_runbooks_lab.lab import Lab

URL = "http://prometheus.kafka.svc.cluster.local:9090"
OVERLAY = paths.LAB / "prometheus"

ANSWERS = """
import sys, time, urllib.request
for _ in range(60):
    try:
        sys.exit(0 if urllib.request.urlopen(sys.argv[1], timeout=2).status == 200 else 1)
    except OSError as error:
        why = error
        time.sleep(0.5)
sys.exit(str(why))
"""


def deploy(lab: Lab, say: builds.Say) -> None:
    """Return when Prometheus is ready. Deploying again changes nothing.

    Raises:
        LabError: it can't be built, or isn't ready within two minutes.
    """
    folder = builds.ensure_prometheus(say)
    lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=fill_in(lab, folder))
    lab.kubectl("-n", "kafka", "rollout", "status", "deployment/prometheus", "--timeout=120s")
    # The pod is ready; kube-proxy routes the Service's address to it a moment later.
    answer = lab.exec([sys.executable, "-c", ANSWERS, f"{URL}/-/ready"], timeout=180)
    if answer.returncode:
        raise LabError(f"Prometheus at {URL} doesn't answer: {answer.stderr.strip()}")


def remove(lab: Lab) -> None:
    """Remove Prometheus from the lab."""
    lab.kubectl("delete", "--ignore-not-found", "-f", "-", input=fill_in(lab, Path("/none")))


def fill_in(lab: Lab, folder: Path) -> str:
    """The manifests, with the folder of the binary."""
    return lab.kubectl("kustomize", str(OVERLAY)).replace("@PROMETHEUS@", str(folder.resolve()))


def main() -> None:
    lab = Lab(lambda line: print(line, flush=True))
    if not lab.is_up():
        sys.exit("the lab is down: kafka-runbooks-lab up")
    try:
        deploy(lab, lambda line: print(line, flush=True))
    except LabError as error:
        sys.exit(str(error))
    print(f"Prometheus: {URL} in the lab")


if __name__ == "__main__":
    main()
