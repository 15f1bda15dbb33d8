"""Rights in Kubernetes and Kafka: what somebody may do to what."""

from typing import NamedTuple


class Right(NamedTuple):
    """A right in Kubernetes' RBAC: a verb on a resource, which may be limited to one object."""

    group: str
    resource: str
    """With its subresource, as a role names it: `pods/log`."""
    verb: str
    namespace: str | None = None
    """None: the resource has no namespace, or the right is for all of them (a ClusterRole)."""
    name: str | None = None
    """None: every object."""

    @property
    def rule(self) -> str:
        """As a rule of a role, in YAML."""
        names = f", resourceNames: [{self.name}]" if self.name is not None else ""
        group = self.group or '""'
        return f"{{apiGroups: [{group}], resources: [{self.resource}]{names}, verbs: [{self.verb}]}}"

    def __str__(self) -> str:
        where = "" if self.namespace is None else f" in namespace {self.namespace}"
        return f"{self.verb} {self.resource}{'' if self.name is None else f' {self.name}'}{where}"


class Acl(NamedTuple):
    """A right in Kafka: an operation on the cluster, or on every topic."""

    operation: str
    is_on_topics: bool = False

    @property
    def arguments(self) -> str:
        """As `kafka-acls.sh` takes it."""
        return f"--operation {self.operation} " + ("--topic '*'" if self.is_on_topics else "--cluster")

    def __str__(self) -> str:
        return f"{self.operation} on {'every topic' if self.is_on_topics else 'the cluster'}"
