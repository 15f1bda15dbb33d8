"""A frozen plan of topics: made, configured, grown, deleted, and moved as any other plan of moves is."""

from collections.abc import Mapping

from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.plans import ExitPromises, PromisedTopic
from kafka_runbooks.models.topic_changes import AppliedTopic, ConfigChange, NewPartitions, NewTopic, TopicDeletion
from kafka_runbooks.models.topics import MINIMUM_IN_SYNC


class TopicPlan(MovePlan):
    """Moves of topics with another replication factor or map, and what is done to topics besides."""

    creations: tuple[NewTopic, ...] = ()
    growths: tuple[NewPartitions, ...] = ()
    configs: tuple[ConfigChange, ...] = ()
    deletions: tuple[TopicDeletion, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.creations or self.growths or self.configs or self.moves or self.deletions)

    @property
    def is_harmless(self) -> bool:
        """Whether it only makes topics and sets configs."""
        return not (self.growths or self.moves or self.deletions)

    @property
    def promises(self) -> ExitPromises:
        topics = [PromisedTopic(name=one.name, replicas=one.replicas, configs=one.configs) for one in self.creations]
        topics += [
            PromisedTopic(name=one.topic, first_partition=one.partitions_before, replicas=one.replicas) for one in self.growths
        ]
        topics += [PromisedTopic(name=one.topic, configs=dict(one.wanted)) for one in self.configs]
        return super().promises.model_copy(
            update={"topics": tuple(topics), "deleted_topics": {one.topic: one.topic_id for one in self.deletions}}
        )

    @property
    def moved_topics(self) -> frozenset[str]:
        return frozenset(move.topic for move in self.moves)

    def growths_before_moves(self) -> tuple[NewPartitions, ...]:
        """Those that needn't wait: partitions of a topic that moves come once it has moved, for they have as many replicas."""
        return tuple(one for one in self.growths if one.topic not in self.moved_topics)

    def configs_before_moves(self) -> tuple[ConfigChange, ...]:
        """Those that needn't wait: a topic that gets more replicas has its new `min.insync.replicas` once they are there."""
        more = {move.topic for move in self.moves if len(move.after) > len(move.before)}
        found = []
        for one in self.configs:
            values = {key: value for key, value in one.values.items() if key != MINIMUM_IN_SYNC or one.topic not in more}
            if values:
                found.append(one.model_copy(update={"values": values}))
        return tuple(found)

    def inverse(self) -> "TopicPlan":
        """The way back of the moves: topics that were made stay, and so do partitions and configs."""
        made = super().inverse()
        return TopicPlan(**{**dict(made), "creations": (), "growths": (), "configs": (), "deletions": ()})

    def is_within(self, approved: MovePlan) -> bool:
        """Whether it does nothing that wasn't in an approved plan; a topic that isn't made yet may be made elsewhere."""
        if not isinstance(approved, TopicPlan) or not super().is_within(approved):
            return False
        made = {one.name: one for one in approved.creations}
        for one in self.creations:
            like = made.get(one.name)
            if like is None or (one.configs, list(map(len, one.replicas))) != (like.configs, list(map(len, like.replicas))):
                return False
        grown = {(one.topic, one.topic_id, one.count) for one in approved.growths}
        # A topic that was to be made with these configs may have been made already.
        new = {(one.name, key, value) for one in approved.creations for key, value in one.configs.items()}
        set_to = new | {(one.topic, key, value) for one in approved.configs for key, value in one.wanted.items()}
        deleted = {(one.topic, one.topic_id) for one in approved.deletions}
        return (
            all((one.topic, one.topic_id, one.count) in grown for one in self.growths)
            and all((one.topic, key, value) in set_to for one in self.configs for key, value in one.wanted.items())
            and all((one.topic, one.topic_id) in deleted for one in self.deletions)
        )

    def made(self, topic_ids: Mapping[str, str]) -> tuple[AppliedTopic, ...]:
        """The configs that topics were made with; `topic_ids` are theirs."""
        return tuple(
            AppliedTopic(name=one.name, topic_id=topic_ids.get(one.name), keys=tuple(one.configs))
            for one in self.creations
            if one.configs
        )
