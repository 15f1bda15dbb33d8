#!/bin/sh
# The ACLs of the runbooks' principals, no more: docs/security.md says what each is for. Running it again changes nothing.
#
#   ADMIN="--bootstrap-server POD.SERVICE:9092 --command-config admin.properties" \
#   WORKER=User:kafka-runbooks AGENT=User:kafka-agent PLANNER=User:kafka-planner ./acls.sh
#
# A principal that isn't given gets nothing. kafka-acls.sh must be on PATH.
set -eu
: "${ADMIN:?the arguments of kafka-acls.sh to connect with}"

add() {
    principal=$1
    shift
    # shellcheck disable=SC2086  # ADMIN is several arguments.
    kafka-acls.sh $ADMIN --add --allow-principal "$principal" "$@"
}

# Alter includes Describe, and AlterConfigs includes DescribeConfigs.
if [ -n "${WORKER:-}" ]; then
    add "$WORKER" --operation Alter --operation AlterConfigs --cluster
    add "$WORKER" --operation Describe --operation AlterConfigs --topic '*'
fi
# TopicReconcile: MAKES_TOPICS=yes, where definitions make topics.
if [ -n "${WORKER:-}" ] && [ -n "${MAKES_TOPICS:-}" ]; then
    add "$WORKER" --operation Create --operation Alter --operation Delete --topic '*'
fi
# `kafka-runbooks place --bootstrap`, which only reads.
if [ -n "${PLANNER:-}" ]; then
    add "$PLANNER" --operation Describe --cluster
    add "$PLANNER" --operation Describe --operation DescribeConfigs --topic '*'
fi
# The agent beside each broker.
if [ -n "${AGENT:-}" ]; then
    add "$AGENT" --operation DescribeConfigs --cluster
    add "$AGENT" --operation Describe --topic '*'
fi
