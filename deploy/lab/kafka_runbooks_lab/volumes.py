"""The lab's local volume provisioner: keeps one Available PersistentVolume per live node that has a disk.

It does what the Kubernetes project's local-volume-static-provisioner does on a node: a volume whose claim is gone is
cleaned, deleted and offered anew. A dead node's volume is left as it is, for nobody can clean a disk without power;
it is offered again, empty, if the node comes back. Run as `python -m kafka_runbooks_lab.volumes`, woken by a watch.
"""

import json
import subprocess
import time

from kafka_runbooks_lab import nodes, workloads
from kafka_runbooks_lab.errors import LabError
from kafka_runbooks_lab.lab import Lab


def tend(lab: Lab) -> None:
    """One look at every live node's volume, and what follows from it. Safe to repeat and to interrupt."""
    listed = json.loads(lab.kubectl("get", "pv", "-o", "json"))["items"]
    volumes = {volume["metadata"]["name"]: volume for volume in listed}
    for node in nodes.known():
        if node.deleted or not workloads.has_volume(node) or not node.machine(lab.cgroups).process():
            continue
        volume = volumes.get(workloads.volume_name(node))
        if volume is None:
            nodes.wipe_disk(node)
            lab.kubectl("create", "-f", "-", input=json.dumps(workloads.volume(node)))
        elif volume.get("status", {}).get("phase") in ("Released", "Failed"):
            lab.kubectl("delete", "pv", workloads.volume_name(node), "--wait=false", "--ignore-not-found")


def main() -> None:
    """Tend the volumes until the lab goes down."""
    lab = Lab()
    while lab.is_up():
        try:
            tend(lab)
            argv = lab.exec_argv(lab.kubectl_argv("get", "pv", "--watch-only", "-o", "name"))
            with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as watch:
                tend(lab)  # for what happened before the watch was there
                assert watch.stdout is not None
                for _ in watch.stdout:
                    tend(lab)
        except LabError as error:  # the API server may be away for a while
            print(error, flush=True)
        time.sleep(2)


if __name__ == "__main__":
    main()
