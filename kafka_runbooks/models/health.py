"""What is wrong with a cluster, as a scheduled look reports it."""

from kafka_runbooks.models.base import Line, Lines, Model


class HealthReport(Model):
    """What was found wrong; nothing is changed."""

    is_healthy: bool
    problems: Lines = ()
    """The worst first."""
    summary: Line = ""
