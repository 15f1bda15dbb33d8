"""What definitions have set on a cluster's topics, kept beside the cluster: a config that leaves its definition is reset.

Written before a config is set, for a worker may die between the two; one that isn't set then is forgotten by the next run.
"""

from collections.abc import Sequence

from activities.permits import Fence
from kafka_runbooks.clients import store
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.topic_changes import AppliedTopic, AppliedTopics
from kafka_runbooks.topics import changes


def name_of(cluster: str) -> str:
    return f"kafka-runbooks-topics-{cluster}"


def load(kubernetes: Kubernetes, cluster: str) -> AppliedTopics:
    """What is known; nothing where nothing was written yet.

    Raises:
        Refused: it exists but can't be read.
    """
    return store.load(kubernetes, name_of(cluster), AppliedTopics) or AppliedTopics()


def add(kubernetes: Kubernetes, fence: Fence, cluster: str, more: Sequence[AppliedTopic]) -> None:
    """More keys, which are about to be set.

    Raises:
        Conflict: somebody else has written meanwhile.
    """
    known = store.load_versioned(kubernetes, name_of(cluster), AppliedTopics)
    _write(kubernetes, fence, cluster, known, changes.with_keys(AppliedTopics() if known is None else known[0], more))


def replace(kubernetes: Kubernetes, fence: Fence, cluster: str, now: AppliedTopics) -> None:
    """All of it, as it was found to be set.

    Raises:
        Conflict: somebody else has written meanwhile.
    """
    _write(kubernetes, fence, cluster, store.load_versioned(kubernetes, name_of(cluster), AppliedTopics), now)


def _write(
    kubernetes: Kubernetes, fence: Fence, cluster: str, known: tuple[AppliedTopics, str] | None, now: AppliedTopics
) -> None:
    if now == (AppliedTopics() if known is None else known[0]):
        return
    fence.check()
    summary = f"configs that definitions have set on {len(now.topics)} topics of {cluster}"
    store.save(kubernetes, store.TOPICS, name_of(cluster), now, summary, version=None if known is None else known[1])
