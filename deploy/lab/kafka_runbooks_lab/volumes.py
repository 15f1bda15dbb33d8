"""One Available PersistentVolume per live node that has a disk, as the local volume provisioner of Kubernetes keeps it.

It does what the Kubernetes project's local-volume-static-provisioner does on a node: a volume whose claim is gone is
cleaned, deleted and offered anew. A dead node's volume is left as it is, for nobody can clean a disk without power;
it is offered again, empty, if the node comes back.
"""

import fcntl
import json
from collections.abc import Callable

from kafka_runbooks_lab import nodes, paths, workloads
from kafka_runbooks_lab.cgroups import Cgroups


def tend(kubectl: Callable[..., str], cgroups: Cgroups) -> None:
    """One look at every live node's volume, and what follows from it. Safe to repeat and to interrupt.

    Under a lock, for the second of two would wipe the disk that the first has just offered and a broker has claimed.
    """
    with (paths.STATE / "volumes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listed = json.loads(kubectl("get", "pv", "-o", "json"))["items"]
        volumes = {volume["metadata"]["name"]: volume for volume in listed}
        for node in nodes.known():
            if node.deleted or not workloads.has_volume(node) or not node.machine(cgroups).process():
                continue
            volume = volumes.get(name := workloads.volume_name(node))
            if volume is None:
                nodes.wipe_disk(node)
                kubectl("create", "-f", "-", input=json.dumps(workloads.volume(node)))
            elif volume.get("status", {}).get("phase") in ("Released", "Failed"):
                kubectl("delete", "pv", name, "--wait=false", "--ignore-not-found")
