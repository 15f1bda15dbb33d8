# Starts a controller; its id is the first one plus its ordinal.
set -eu
java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
here=/etc/kafka-config
# runbooks: what the agent tells of the certificates that this process is started with, without keys. Its own connections to the
# other controllers use them until it ends.
mkdir -p /identity/started-tls
for file in "/etc/kafka-tls/$POD_NAME.pem" "/etc/kafka-tls/$POD_NAME.ca.pem"; do
  [ ! -f "$file" ] || sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' "$file" > "/identity/started-tls/${file##*/}"
done
{
  cat "$here/security.properties" "$here/controller.properties"
  echo "node.id=$((${POD_NAME##*-} + FIRST_CONTROLLER_ID))"
  echo "ssl.keystore.location=/etc/kafka-tls/$POD_NAME.pem"
  echo "ssl.truststore.location=/etc/kafka-tls/$POD_NAME.ca.pem"
  [ ! -f "$here/override.properties" ] || cat "$here/override.properties"
} > /tmp/server.properties
# runbooks: other nodes' addresses are soon forgotten, for a restarted one has another.
options="-Djava.security.properties=$here/java.security ${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=$here/log4j2.yaml} ${KAFKA_JVM_PERFORMANCE_OPTS:-}"
if [ ! -f /data/kafka/meta.properties ]; then
  $java $options -Xmx128m -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --ignore-formatted \
    -t "$(cat "$here/cluster-id")" -c /tmp/server.properties
fi
exec $java $KAFKA_HEAP_OPTS $options ${KAFKA_OPTS:-} -cp '/opt/kafka/libs/*' kafka.Kafka /tmp/server.properties
