"""What definitions of topics are checked against, asked of a live cluster."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from kafka_runbooks.clients.errors import Refused
from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.topics import AskKafka, ExistingTopic, RefusedConfigs, TopicConfigs, TopicFacts


def observe(kafka: Kafka, brokers_by_map: Mapping[str, tuple[int, ...]] | None = None) -> TopicFacts:
    """The cluster's brokers, and its topics with what is set on them.

    Args:
        kafka: the cluster.
        brokers_by_map: as Kubernetes' labels say it; None where nobody has looked.
    """
    snapshot = kafka.snapshot()
    return facts_of(snapshot, kafka.reassignments(), kafka.topic_configs(snapshot.by_topic), brokers_by_map)


def facts_of(
    snapshot: ClusterSnapshot,
    reassignments: Iterable[Reassignment],
    configs: TopicConfigs,
    brokers_by_map: Mapping[str, tuple[int, ...]] | None,
) -> TopicFacts:
    """The same of what has been asked already."""
    moving = {one.name: one.target for one in reassignments}
    return TopicFacts(
        racks=snapshot.racks,
        brokers_by_map=None if brokers_by_map is None else dict(brokers_by_map),
        topics={
            topic: _existing(partitions, moving, configs.own[topic], snapshot.topic_ids.get(topic))
            for topic, partitions in snapshot.by_topic.items()
            if topic in configs.own
        },
        config_keys=tuple(sorted(configs.keys)) or None,
    )


def with_refused_configs(facts: TopicFacts, kafka: Kafka, find: Callable[[AskKafka], tuple[RefusedConfigs, ...]]) -> TopicFacts:
    """With what Kafka says of declared configs, and with every key that there is where no topic has told.

    Args:
        facts: what is known.
        kafka: the cluster.
        find: finds what is refused, by asking for any number of sets of configs (`topics.checking.refused_configs`).
    """
    keys = set(facts.config_keys or ())

    def ask(sets: Sequence[Mapping[str, str]]) -> Sequence[str | None]:
        answer = kafka.validate_topic_configs(sets)
        keys.update(answer.keys)
        return answer.reasons

    try:
        if not keys:
            ask([{}])
        return facts.model_copy(update={"refused_configs": find(ask), "config_keys": tuple(sorted(keys))})
    except Refused as error:
        return facts.model_copy(update={"unknown": (*facts.unknown, f"{'values of configs' if keys else 'configs'}: {error}")})


def _existing(
    partitions: Sequence[Partition],
    moving: Mapping[TopicPartition, Sequence[int]],
    configs: Mapping[str, str],
    topic_id: str | None,
) -> ExistingTopic:
    replicas = tuple(tuple(moving.get(one.name, one.replicas)) for one in partitions)
    return ExistingTopic(
        partitions=len(partitions),
        replication_factor=max(map(len, replicas)),
        broker_ids=tuple(sorted({broker for ids in replicas for broker in ids})),
        topic_id=topic_id,
        replicas=replicas,
        configs=dict(configs),
    )
