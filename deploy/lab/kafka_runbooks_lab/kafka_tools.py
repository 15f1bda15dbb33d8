"""Kafka's own command line tools, run inside the lab's network, for checks that don't depend on the project's code."""

from kafka_runbooks_lab import builds, packages
from kafka_runbooks_lab.errors import BadInput

BOOTSTRAP = "kafka-bootstrap.kafka.svc.cluster.local:9092"

_TOOLS = {
    "cluster": "org.apache.kafka.tools.ClusterTool",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "topics": "org.apache.kafka.tools.TopicCommand",
}


def argv(tool: str, arguments: list[str]) -> list[str]:
    """The command for a tool by its short name (`topics`, `kafka-topics.sh`) or main class.

    `--bootstrap-server` is added unless the arguments contain an address. `BadInput` for an unknown name.
    """
    name = tool.removeprefix("kafka-").removesuffix(".sh")
    if name not in _TOOLS and "." not in tool:
        raise BadInput(f"no Kafka tool {tool!r}; there are: {', '.join(_TOOLS)}, or any main class")
    connected = any(argument.startswith(("--bootstrap", "--command-config", "--producer-props")) for argument in arguments)
    where = [] if connected else ["--bootstrap-server", BOOTSTRAP]
    if name == "cluster" or connected:  # its subcommand comes first
        where, arguments = [], [*arguments, *where]
    java = str(packages.java_home() / "bin/java")
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=ERROR"]
    return [java, *options, "-cp", f"{builds.where().jars}/*", _TOOLS.get(name, tool), *where, *arguments]
