"""Kafka's own command line tools, run inside the lab's network, for checks that don't depend on the project's code."""

from kafka_runbooks_lab import builds, connection, packages
from kafka_runbooks_lab.errors import BadInput

_TOOLS = {
    "acls": "org.apache.kafka.tools.AclCommand",
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

    Address and security are added unless the arguments contain them. `BadInput` for an unknown name.
    """
    name = tool.removeprefix("kafka-").removesuffix(".sh")
    if name not in _TOOLS and "." not in tool:
        raise BadInput(f"no Kafka tool {tool!r}; there are: {', '.join(_TOOLS)}, or any main class")
    where = []
    if not any(argument.startswith(("--bootstrap", "--producer-props")) for argument in arguments):
        where += ["--bootstrap-server", connection.BOOTSTRAP]
    if connection.speaks_tls() and "--command-config" not in arguments:
        where += ["--command-config", str(connection.java_file())]
    if name == "cluster":  # its subcommand comes first
        where, arguments = [], [*arguments, *where]
    java = str(packages.java_home() / "bin/java")
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=ERROR"]
    return [java, *options, "-cp", f"{builds.where().jars}/*", _TOOLS.get(name, tool), *where, *arguments]
