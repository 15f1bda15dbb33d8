"""What is told to people outside: that a run waits for one of them, how it ended, or what a scheduled look has found."""

from kafka_runbooks.models.base import Line, Model


class Notification(Model):
    """One message. It holds no address: that is the worker's setting, a secret."""

    cluster: str
    runbook: str
    workflow_id: str
    run_id: str
    event: str
    """`waits`, the outcome, or `found`."""
    text: Line


class Delivery(Model):
    """What became of a message."""

    is_delivered: bool
    note: Line = ""
