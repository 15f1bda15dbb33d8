"""Labels and annotations on Kubernetes objects: what marks a broker, and what names the owner of a change.

Everything a runbook sets on an object for a while names its owner, so that an operator or `ClearLeftovers` can tell later whose
it is and whether its owner still runs.
"""

DOMAIN = "kafka-runbooks.io"

CLUSTER = f"{DOMAIN}/cluster"
"""Label on StatefulSets and pods: the cluster's name as runbooks call it."""

MAP = f"{DOMAIN}/map"
"""Label on StatefulSets, pods and nodes: the map (node group) that a broker or a node belongs to."""

BROKER_ID = f"{DOMAIN}/broker-id"
"""Label on a broker's pod and on the node it runs on: the id the pod keeps for life."""

ROLES = f"{DOMAIN}/roles"
"""Label on StatefulSets and pods of KRaft controllers: `controller`, or `broker-controller` on combined nodes."""

CONTROLLER = "controller"
BROKER_AND_CONTROLLER = "broker-controller"

FIRST_CONTROLLER_ID = f"{DOMAIN}/first-controller-id"
"""Annotation on controllers' pods: the node id of ordinal 0; the others follow."""

BROKER_IDS_CONFIG_MAP_PREFIX = "kafka-broker-ids-"
"""ConfigMap `kafka-broker-ids-<cluster>`, the register: pod name -> broker id. The one place where ids are given out."""

SERVER_IDS_CONFIG_MAP_PREFIX = "zookeeper-ids-"
"""ConfigMap `zookeeper-ids-<cluster>`, the register of an ensemble, in annotations."""

SERVER_ID = f"server-id.{DOMAIN}/"
"""Annotation `server-id.…/<pod>` of that ConfigMap: the server ID that the pod keeps for life."""

EMPTY_DISK = f"empty-disk.{DOMAIN}/"
"""Annotation `empty-disk.…/<pod>` of that ConfigMap: the pod may begin with an empty disk; gone once it has."""

FORCE_READY = f"{DOMAIN}/force-ready"
"""Annotation on a broker's pod: `{"owner": …, "reason": …, "expires_at": RFC 3339}`; readiness is forced until then."""

FILES_WANTED_AT = f"{DOMAIN}/files-wanted-at"
"""Annotation on a pod: when a runbook wanted changed Secrets in its files. The kubelet looks at a pod that changes; it stays, as
the trace of that, until the pod goes."""

CORDON_OWNER = f"{DOMAIN}/cordoned-by"
"""Annotation on a node that a runbook cordoned: the owner as JSON (workflow id, run id, reason)."""

ZONE = "topology.kubernetes.io/zone"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
HOSTNAME = "kubernetes.io/hostname"
AGENT_PORT = 8099
READINESS = f"{AGENT_PORT}/readyz"
"""Port and path of the agent's readiness, which says "in sync"."""
KAFKA_CONTAINER = "kafka"
"""The container in which Kafka runs, in brokers' and controllers' pods."""

COMPONENT = "app.kubernetes.io/component"
"""Label on StatefulSet and pods of a ZooKeeper ensemble, whose value is `ZOOKEEPER`."""
ZOOKEEPER = "zookeeper"
"""Also the container in which a member runs."""
QUORUM_TLS = "QUORUM_TLS"
"""Environment variable of that container, by which its start script sets how members connect to each other."""

DEFINITIONS = f"{DOMAIN}/definitions"
"""Label on ConfigMaps: of what their data's values are definitions; `topics`."""
TOPICS = "topics"

KEEP_UNTIL = f"{DOMAIN}/keep-until"
"""Annotation on a ConfigMap with topics' definitions: what somebody has set by hand and until when it stays, as JSON
(`models.topics.KeptTopics`)."""
