# Starts a member under the identity that the agent found for it.
set -eu
java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
here=/etc/zookeeper-config
# runbooks: the agent compares this with what is mounted later: a member reads certificates when it starts.
mkdir -p /identity/started-tls
for file in /etc/zookeeper-tls/tls-combined.pem /etc/zookeeper-tls/ca.crt; do
  sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' "$file" > "/identity/started-tls/${file##*/}"
done
# runbooks: how members connect to each other, for an ensemble that goes from plain text to TLS step by step. No other way leads there
# without the loss of the quorum; RestartEnsemble refuses one.
case $QUORUM_TLS in
  accepted) way='sslQuorum=false portUnification=true clientPort=2181' ;;
  spoken) way='sslQuorum=true portUnification=true clientPort=2181' ;;
  required) way='sslQuorum=true' ;;
  *) echo "QUORUM_TLS: $QUORUM_TLS is none of accepted, spoken, required" >&2; exit 2 ;;
esac
{
  cat "$here/zoo.cfg" /identity/servers.cfg
  printf '%s\n' $way
} > /tmp/zoo.cfg
# runbooks: a member whose disk was lost has no vote until it has copied from a leader (ZOOKEEPER-261). Otherwise it could elect, with
# one that lags, a leader that lacks what both had confirmed. The agent allows an empty disk once, when a member is new.
# Other members' addresses are soon forgotten, for a restarted one has another.
options="-Djava.security.properties=$here/java.security -Dzookeeper.db.autocreate=false -Dlog4j.configuration=file:$here/log4j.properties ${ZOOKEEPER_JVM_OPTIONS:-}"
exec $java $ZOOKEEPER_HEAP_OPTIONS $options -cp '/opt/kafka/libs/*' \
  org.apache.zookeeper.server.quorum.QuorumPeerMain /tmp/zoo.cfg
