"""The Kubernetes API for one cluster's namespace, as the worker and as the agent beside a broker use it.

`api` is the worker's, `agent` the agent's, each with the rights of its own ServiceAccount (`deploy/kubernetes`); a test compares
these rights with the calls that the modules make. `objects` turns the library's objects into models.
"""

from kafka_runbooks.clients.kubernetes.api import KubernetesApi

__all__ = ["KubernetesApi"]
