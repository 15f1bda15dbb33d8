"""Preflight and plan of `TopicReconcile`: read the definitions, compare them with the cluster, and freeze what has to change."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from activities import applied_topics, ledgers, plan_store
from activities.errors import PlannerDefect
from activities.large_plans import Turn
from activities.move_plans import observe_cluster, once_nobody_else_moves
from activities.permits import Fence
from activities.planned_rates import planned_rates, rates_of
from activities.step import Steps, step
from activities.topic_metrics import DRIFT
from kafka_runbooks.clients import store, topics
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models import labels
from kafka_runbooks.models.inputs import TopicReconcileInput
from kafka_runbooks.models.kubernetes import ConfigMap
from kafka_runbooks.models.messages import PlanRequest, Survey
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.topic_changes import Drift
from kafka_runbooks.models.topic_plan import TopicPlan
from kafka_runbooks.models.topics import TopicFacts
from kafka_runbooks.moves import freeze, topic_planning, what_if
from kafka_runbooks.moves.planning import ClusterObservation
from kafka_runbooks.placement import errors as placement_errors
from kafka_runbooks.placement.errors import InFlight, InvalidRequest, NoAssignment
from kafka_runbooks.safety.moves import foreign_reassignments, reasons_not_to_move, unacknowledged
from kafka_runbooks.topics import changes, checking, events
from kafka_runbooks.topics.reading import Definitions, read_config_map, together

KIND = "TopicReconcile"
Asked = PlanRequest[TopicReconcileInput]


class TopicPlanActivities(Steps):
    """The plan of `TopicReconcile`."""

    @step
    def plan_topic_reconcile(self, asked: PlanRequest[TopicReconcileInput]) -> Survey:
        """Compare definitions and cluster. With a token, what is set as declared is recorded as ours; else nothing changes."""
        clients = self._open(asked.request.cluster)
        return once_nobody_else_moves(clients, asked, lambda: self._survey(clients, asked))

    def _survey(self, clients: ClusterClients, asked: Asked) -> Survey:
        config_maps = clients.kubernetes.definitions(labels.TOPICS)
        if not config_maps:
            wanted = f"{labels.DEFINITIONS}: {labels.TOPICS}, {labels.CLUSTER}: {asked.request.cluster}"
            return Survey(nothing_to_do=f"no ConfigMap in the cluster's namespace has the labels {wanted}")
        reading = together(read_config_map(one.name, one.data, one.annotations) for one in config_maps)
        with Turn() as turn:
            observed = observe_cluster(clients, turn)
            if isinstance(observed, Reason):
                return Survey(reasons=(observed,))
            facts = _facts(clients, observed, reading.definitions)
            faults = [*reading.faults, *checking.check(reading.definitions, facts)]
            untold = _tell(clients, asked, config_maps, events.of_faults(faults))
            reasons = [
                Reason(name=f"definition:{one.place}", message=str(one), remedy="correct the definition", is_bad_input=True)
                for one in faults
            ]
            reasons += [
                Reason(name="unchecked", message=why, remedy="give the worker the rights in docs/security.md")
                for why in facts.unknown
            ]
            if reasons:
                return Survey(reasons=tuple(reasons), notes=untold)
            return self._planned(clients, asked, observed, facts, reading.definitions, config_maps)

    def _planned(
        self,
        clients: ClusterClients,
        asked: Asked,
        observed: ClusterObservation,
        facts: TopicFacts,
        definitions: Definitions,
        config_maps: Sequence[ConfigMap],
    ) -> Survey:
        request, cluster, now = asked.request, asked.request.cluster, datetime.now(UTC)
        applied = changes.applied_now(definitions, facts, applied_topics.load(clients.kubernetes, cluster))
        if marked := changes.marked(definitions, facts):
            applied = changes.quiet_now(applied, facts, clients.kafka.end_offsets(marked), now)
        if asked.token is not None:
            applied_topics.replace(clients.kubernetes, Fence(self._link, asked.token), cluster, applied)
        settings = clients.settings.topics
        may_delete = settings is not None and settings.may_delete
        found = changes.find(definitions, facts, applied, now=now, adopts=request.adopt, may_delete=may_delete)
        DRIFT.tell(cluster, found)
        notes = tuple(f"{one.topic}: {one.kind}: {one.detail}" for one in found.drift)
        notes += _tell(clients, asked, config_maps, events.of_changes(definitions, found))
        try:
            result = topic_planning.moves(observed, found)
            cordoned = clients.kafka.log_directory_cordons(sorted(observed.snapshot.live_broker_ids))
            placed = topic_planning.place(observed, found, facts, result.plan, cordoned)
            moves = freeze.freeze(observed, request, KIND, result, now)
        except InFlight:
            return Survey(reasons=tuple(foreign_reassignments(observed.reassignments)))
        except NoAssignment as error:
            return Survey(
                reasons=tuple(
                    Reason(name=f"no-map:{one.constraint}", message=f"{one.where}: {one.problem}", remedy=one.remedy)
                    for one in error.reasons[:50]
                )
            )
        except InvalidRequest as error:
            return Survey(reasons=(Reason(name="invalid-request", message=str(error), remedy="correct the definitions"),))
        except placement_errors.PlannerDefect as error:
            raise PlannerDefect(f"the {KIND} planner broke a rule, nothing was changed: {error}") from error
        plan = topic_planning.frozen(moves, placed, found)
        against = [*placed.reasons, *result.reasons]
        if plan.is_empty:
            return Survey(reasons=tuple(against)) if against else Survey(nothing_to_do=_nothing(found.drift), notes=notes)
        ledger = None if asked.token is None else ledgers.read(clients.kubernetes, asked.token)
        lists = clients.kafka.throttled_replicas(sorted(plan.moved_topics))
        brokers = what_if.changed_brokers(plan.moves) & observed.snapshot.live_broker_ids
        plan = TopicPlan(**dict(freeze.with_throttles_before(plan, lists, rates_of(clients, brokers), ledger)))
        approved = None if asked.approved is None else store.load(clients.kubernetes, asked.approved.plan_id, TopicPlan)
        leaders = {partition.name: partition.leader for partition in observed.snapshot.partitions}
        rates = planned_rates(clients, request.throttle, what_if.sent_bytes(plan.moves, leaders), asked.token)
        summary = freeze.summarise(observed, plan, result, rates.by_source, rates.notes, approved, now)
        reasons = [
            *unacknowledged([*against, *topic_planning.reasons_to_ask(plan)], request.acknowledged_risks),
            *_refused(clients, plan),
            *foreign_reassignments([one for one in observed.reassignments if one.topic in {two.topic for two in plan.growths}]),
            *reasons_not_to_move(
                plan,
                topic_planning.with_declared_minimum(observed.snapshot, plan),
                observed.reassignments,
                request.acknowledged_risks,
            ),
        ]
        if asked.token is not None and asked.keeps_plan(reasons):
            plan_store.save(clients.kubernetes, plan, asked.token)
        return Survey(plan=topic_planning.with_topics(summary, plan, found), reasons=tuple(reasons), notes=notes)


def _tell(
    clients: ClusterClients, asked: Asked, config_maps: Sequence[ConfigMap], said: Iterable[events.Said]
) -> tuple[str, ...]:
    """Events on the ConfigMaps, but for a preview; returns a note where that fails, for a run needs none of them."""
    if asked.token is None:
        return ()
    by_name = {one.name: one for one in config_maps}
    try:
        for one in said:
            clients.kubernetes.tell(by_name[one.config_map], one.reason, one.message, is_warning=one.is_warning)
    except ClientError as error:
        return (f"no Events on the ConfigMaps: {error}",)
    return ()


def _facts(clients: ClusterClients, observed: ClusterObservation, definitions: Definitions) -> TopicFacts:
    by_map: dict[str, list[int]] = {}
    for broker, name in sorted(observed.map_of.items()):
        by_map.setdefault(name, []).append(broker)
    configs = clients.kafka.topic_configs(observed.snapshot.by_topic)
    brokers = {name: tuple(ids) for name, ids in by_map.items()}
    facts = topics.facts_of(observed.snapshot, observed.reassignments, configs, brokers)
    return topics.with_refused_configs(facts, clients.kafka, lambda ask: checking.refused_configs(definitions, ask))


def _refused(clients: ClusterClients, plan: TopicPlan) -> list[Reason]:
    """What Kafka would refuse: it is asked to validate, and changes nothing. (A policy of the cluster's owner, above all.)"""
    refused = clients.kafka.create_topics(plan.creations, validate_only=True)
    refused |= clients.kafka.add_partitions(plan.growths_before_moves(), validate_only=True)
    return [
        Reason(name=f"refused:{topic}", message=f"Kafka says: {why}", remedy="correct its definition")
        for topic, why in sorted(refused.items())
    ]


def _nothing(drift: tuple[Drift, ...]) -> str:
    kinds: dict[str, int] = {}
    for one in drift:
        kinds[one.kind] = kinds.get(one.kind, 0) + 1
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return topic_planning.NOTHING + (f"; drift that stays: {shown}" if shown else "")
