"""Preflight and plan of `RotateCertificates`: every reason not to begin, or the frozen plan."""

from activities import known_listeners
from activities.restart_plans import Found, against_sets, offered
from activities.rotation_summary import summarise
from activities.rotation_survey import RotationSurvey
from activities.rotation_views import View
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients.clusters import CertificateClients
from kafka_runbooks.models.inputs import RotateCertificatesInput
from kafka_runbooks.models.messages import PlanRequest, Survey
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety import rotation_checker, rotation_start
from kafka_runbooks.safety.rotations import next_change, phase_now


class RotationPlanActivities(Steps):
    """The plan of `RotateCertificates`."""

    @step
    def plan_rotate_certificates(self, asked: PlanRequest[RotateCertificatesInput]) -> Survey:
        """Look at every node's files and certificates, collect every reason not to begin, and freeze the plan."""
        with heartbeating():
            clients, request = self._open(asked.request.cluster), asked.request
            certificates = clients.certificates
            if certificates is None:
                return Survey(reasons=(_no_settings(),))
            issuer = request.issuer or certificates.issuer
            if issuer not in certificates.issuers:
                return Survey(reasons=(_unknown_issuer(issuer, certificates),))
            found = Found(clients)
            brokers = [node_id for node_id, one in found.nodes.items() if one.node.is_broker]
            if reasons := rotation_start.unknown_canary(request.canary_node_id, brokers):
                return Survey(reasons=tuple(reasons))
            survey = RotationSurvey(clients, certificates, found, request, issuer)
            if asked.token is not None:
                known_listeners.remember(clients.kubernetes, request.cluster, survey.stores)
            reasons = survey.reasons()
            if any(not reason.can_be_acknowledged for reason in reasons):
                return Survey(reasons=tuple(reasons), notes=found.notes)
            plan = survey.freeze()
            if all(node.keeps for node in plan.nodes):
                return Survey(nothing_to_do="no certificate has to be renewed", notes=found.notes)
            parties = View(clients, plan).parties
            phase = phase_now(parties, plan.goal)
            if phase is None:
                return Survey(nothing_to_do=f"every node presents what was asked for, of issuer {issuer}", notes=found.notes)
            reasons += rotation_start.refused_pairs(rotation_checker.broken(parties))
            reasons += against_sets(survey.restarting(plan), found)
            known = set(request.acknowledged_risks)
            reasons = [one for one in reasons if not (one.can_be_acknowledged and one.name in known)]
            notes = (*found.notes, *survey.notes(plan))
            change = next_change(parties, plan.goal)
            if change is not None and phase is not plan.goal.phases[0]:
                notes = (*notes, f"an earlier rotation got as far as: {phase}")
            return offered(clients, asked, plan, summarise(plan, survey.served), reasons, notes)


def _no_settings() -> Reason:
    return Reason(
        name="no-certificates",
        message="the cluster's entry in clusters.yaml has no certificates: nobody is known to issue any",
        remedy="add certificates with an issuer, as docs/security.md says",
    )


def _unknown_issuer(issuer: str, certificates: CertificateClients) -> Reason:
    return Reason(
        name="unknown-issuer",
        message=f"issuer: clusters.yaml names no issuer {issuer!r} for this cluster",
        remedy=f"give one of {', '.join(sorted(certificates.issuers))}",
        is_bad_input=True,
    )
