"""What an operator decides about a run in progress: an update of its workflow."""

import uuid
from datetime import timedelta

from temporalio.client import Client, WorkflowUpdateFailedError

from kafka_runbooks.models.base import OperatorInput
from kafka_runbooks.models.status import Status
from kafka_runbooks.runs.observing import Observation
from kafka_runbooks.runs.validation import BadInput

UPDATE_TIMEOUT = timedelta(seconds=60)


async def send(client: Client, observed: Observation, update: str, decision: OperatorInput) -> Status:
    """Send an update to a run that was observed, and return the status it answers with.

    Raises:
        BadInput: the run is over, or refuses.
    """
    if observed.is_over:
        raise BadInput(f"ID: {observed.workflow_id} is over ({observed.state.lower()}); there is nothing to {update}")
    handle = client.get_workflow_handle(observed.workflow_id, run_id=observed.run_id)
    try:
        answer: Status = await handle.execute_update(
            update, decision, result_type=Status, id=f"{update}-{uuid.uuid4()}", rpc_timeout=UPDATE_TIMEOUT
        )
        return answer
    except WorkflowUpdateFailedError as error:
        raise BadInput(f"{update}: {error.cause}") from error
