# Starts a broker under the identity that the agent found for it (id and rack).
set -eu
java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
here=/etc/kafka-config
name=$POD_NAME.${POD_NAME%-*}.$POD_NAMESPACE.svc.cluster.local
# runbooks: the agent compares this with what is mounted later. First, so that a change meanwhile is rather seen than missed.
{
  cat "$here/security.properties" "$here/broker.properties"
  [ ! -f "$here/override.properties" ] || cat "$here/override.properties"
} > /identity/started.properties
# runbooks: likewise the certificates, without keys. Until it ends, the broker connects to the controllers with these.
mkdir -p /identity/started-tls
for file in "/etc/kafka-tls/$POD_NAME.pem" "/etc/kafka-tls/$POD_NAME.ca.pem"; do
  [ ! -f "$file" ] || sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' "$file" > "/identity/started-tls/${file##*/}"
done
{
  cat "$here/security.properties" "$here/broker.properties" /identity/broker.properties
  echo "advertised.listeners=CLIENTS://$name:9092,REPLICATION://$name:9091"
  # runbooks: files of the pod's own, in a Secret that is mounted whole.
  echo "ssl.keystore.location=/etc/kafka-tls/$POD_NAME.pem"
  echo "ssl.truststore.location=/etc/kafka-tls/$POD_NAME.ca.pem"
  [ ! -f "$here/override.properties" ] || cat "$here/override.properties"
} > /tmp/server.properties
# runbooks: other nodes' addresses are soon forgotten, for a restarted one has another.
options="-Djava.security.properties=$here/java.security ${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=$here/log4j2.yaml} ${KAFKA_JVM_PERFORMANCE_OPTS:-}"
if [ ! -f /data/kafka/meta.properties ] && grep -q '^process.roles=' /tmp/server.properties; then
  # An empty disk: a first start, or a replaced one, whose data is re-replicated from the other brokers. In ZooKeeper mode the broker
  # formats it itself.
  $java $options -Xmx128m -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --ignore-formatted \
    -t "$(cat "$here/cluster-id")" -c /tmp/server.properties
fi
exec $java $KAFKA_HEAP_OPTS $options ${KAFKA_OPTS:-} -cp '/opt/kafka/libs/*' kafka.Kafka /tmp/server.properties
