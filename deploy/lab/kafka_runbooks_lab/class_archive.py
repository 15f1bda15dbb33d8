"""An archive of the classes that a broker or controller loads, since nine JVMs start at once on two cores.

Class data sharing (JEP 350) halves the CPU time of a start: measured 2.0 s -> 1.1 s for a broker, 0.9 s -> 0.5 s for
formatting a disk. The archive is recorded from one run of a combined node, under the path at which pods mount the
jars: the JVM ignores an archive with another class path. It also ignores one of another JVM build, with a warning.
"""

import subprocess
from pathlib import Path

from kafka_runbooks_lab import packages, paths
from kafka_runbooks_lab.authority import Authority
from kafka_runbooks_lab.errors import LabError

NAME = "kafka.jsa"
_CONFIG = paths.CHECKOUT / "deploy/kubernetes/kafka/config"

_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
controller.listener.names=CONTROLLER
listeners=CLIENTS://localhost:9092,CONTROLLER://localhost:9093
inter.broker.listener.name=CLIENTS
ssl.keystore.location=/opt/train/node.pem
ssl.truststore.location=/opt/train/ca.pem
log.dirs=/opt/train/data
log.cleaner.dedupe.buffer.size=2097152
offsets.topic.replication.factor=1
"""
"""After those of security.properties: classes of TLS and of the authorizer are loaded too."""

# In namespaces of its own: no port of the host, and /opt/kafka/libs without touching the host's /opt.
_TRAIN = """
ip link set lo up
mount -t tmpfs train /opt
mkdir -p /opt/kafka/libs /opt/train
mount --bind "$LIBS" /opt/kafka/libs
{ cat "$SECURITY"; printf '%s' "$PROPERTIES"; } > /opt/train/server.properties
printf '%s' "$KEYSTORE" > /opt/train/node.pem
printf '%s' "$TRUSTSTORE" > /opt/train/ca.pem
options="-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Dlog4j2.configurationFile=$LOG4J2"
# Kafka 3, which logs by Log4j 1, takes a broker of KRaft, too: most classes are those of ZooKeeper mode.
options="$options -Dlog4j.configuration=file:$LOG4J"
run="$JAVA $options -Xmx256m"
$run -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format -t "$(cat "$CLUSTER_ID")" -c /opt/train/server.properties
$run -XX:ArchiveClassesAtExit=/opt/kafka/libs/$ARCHIVE -cp '/opt/kafka/libs/*' \
  kafka.Kafka /opt/train/server.properties > /opt/train/log 2>&1 &
for _ in $(seq 600); do
  if grep -q 'Kafka Server started' /opt/train/log; then break; fi
  if ! kill -0 $! 2>/dev/null; then cat /opt/train/log; exit 1; fi
  sleep 0.1
done
kill $!
wait $! || true
test -s "/opt/kafka/libs/$ARCHIVE" || { tail -n 20 /opt/train/log; exit 1; }
"""


def write(jars: Path) -> None:
    """Write the archive into the folder of the jars; `LabError` with the JVM's output if that fails."""
    authority = Authority("class archive")
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "JAVA": str(packages.java_home() / "bin/java"),
        "LIBS": str(jars),
        "LOG4J": str(_CONFIG.parents[1] / "zookeeper/config/log4j.properties"),
        "LOG4J2": str(_CONFIG / "log4j2.yaml"),
        "CLUSTER_ID": str(_CONFIG / "cluster-id"),
        "PROPERTIES": _PROPERTIES,
        "SECURITY": str(_CONFIG / "security.properties"),
        "KEYSTORE": authority.leaf("kafka-broker", "localhost").both,
        "TRUSTSTORE": authority.certificate,
        "ARCHIVE": NAME,
    }
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-ec", _TRAIN]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise LabError(f"can't archive Kafka's classes:\n{(done.stdout + done.stderr)[-3000:]}")
