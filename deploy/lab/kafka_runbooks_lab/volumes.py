"""One Available PersistentVolume per live node that has a disk, as the local volume provisioner of Kubernetes keeps it.

It does what the Kubernetes project's local-volume-static-provisioner does on a node: a volume whose claim is gone is
cleaned, deleted and created again. A dead node's volume is left alone, since a disk without power can't be cleaned;
it is created again, empty, if the node comes back.
"""

import fcntl
import json
from collections.abc import Callable

from kafka_runbooks_lab import nodes, paths, workloads
from kafka_runbooks_lab.cgroups import Cgroups


def tend(kubectl: Callable[..., str], cgroups: Cgroups) -> None:
    """Bring every live node's volume into its desired state. Safe to repeat and to interrupt.

    Under a lock: a concurrent second one would wipe a disk that a broker has claimed since the first created its volume.
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
