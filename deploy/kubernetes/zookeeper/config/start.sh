# Starts a member under the identity that the agent found for it.
set -eu
java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
here=/etc/zookeeper-config
cat "$here/zoo.cfg" /identity/servers.cfg > /tmp/zoo.cfg
# runbooks: a member whose disk was lost has no vote until it has copied from a leader (ZOOKEEPER-261). Otherwise it could elect, with
# one that lags, a leader that lacks what both had confirmed. The agent allows an empty disk once, when a member is new.
options="-Dzookeeper.db.autocreate=false -Dlog4j.configuration=file:$here/log4j.properties ${ZOOKEEPER_JVM_OPTIONS:-}"
exec $java $ZOOKEEPER_HEAP_OPTIONS $options -cp '/opt/kafka/libs/*' \
  org.apache.zookeeper.server.quorum.QuorumPeerMain /tmp/zoo.cfg
