"""Where nodes are connected to and which files they use, kept beside the cluster for when Kafka can't be asked any more.

Once certificates have expired nobody can connect to a broker as a client does. Where its listeners are was told before then, by
every plan of a rotation that was made meanwhile.
"""

import hashlib

from pydantic import Field

from kafka_runbooks.clients import store
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.certificates import Stores


class KnownListeners(Model):
    """Node -> its listeners with TLS."""

    stores: dict[int, tuple[Stores, ...]] = Field(default_factory=dict)


def name_of(cluster: str) -> str:
    return f"kafka-runbooks-listeners-{hashlib.sha256(cluster.encode()).hexdigest()[:16]}"


def remember(kubernetes: Kubernetes, cluster: str, stores: dict[int, tuple[Stores, ...]]) -> None:
    """Keep what every node has told; what others told before stays."""
    known = recall(kubernetes, cluster)
    found = {**known, **{node_id: some for node_id, some in stores.items() if some}}
    if found != known:
        store.save(
            kubernetes,
            store.LISTENERS,
            name_of(cluster),
            KnownListeners(stores=found),
            f"listeners with TLS of {len(found)} nodes",
        )


def recall(kubernetes: Kubernetes, cluster: str) -> dict[int, tuple[Stores, ...]]:
    """What was told last; nothing where nobody has asked before."""
    known = store.load(kubernetes, name_of(cluster), KnownListeners)
    return {} if known is None else known.stores
