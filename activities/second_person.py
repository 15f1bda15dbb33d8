"""A plan of a cluster whose entry says `two_person: true` is approved by somebody else than the one who asked for it.

The names are what people say of themselves: this is a guard against haste, not against malice. Who may talk to Temporal at all
is for Temporal's own access control.
"""

from kafka_runbooks.clients.clusters import ClusterSettings
from kafka_runbooks.models.inputs import PlannedInput
from kafka_runbooks.models.messages import Survey
from kafka_runbooks.models.results import Reason


def demanded(settings: ClusterSettings, request: PlannedInput, survey: Survey) -> Survey:
    """The survey, with what the cluster's entry demands: the gate can't be switched off, and shows what was acknowledged."""
    if not settings.two_person or survey.plan is None:
        return survey
    notes = tuple(f"{request.requester} has acknowledged the risk {risk}" for risk in request.acknowledged_risks)
    reasons = survey.reasons
    if not request.wait_for_approval:
        reason = Reason(
            name="second-person",
            message=f"cluster {request.cluster} wants the approval of a second person (two_person in clusters.yaml)",
            remedy="start it with wait_for_approval, and let somebody else approve it",
        )
        reasons = (reason, *reasons)
    return Survey(**{**dict(survey), "reasons": reasons, "notes": (*notes, *survey.notes), "needs_second_person": True})
