"""Search attributes that every run sets on itself, so that on-call engineers find runs by cluster, runbook, phase and requester.

`kafka-runbooks setup` registers them with the namespace. Temporal rejects a run that sets an unregistered one, so a run checks
(`kafka_runbooks.temporal.search_attributes_are_registered`) and goes without them where they are missing.
"""

from temporalio.common import SearchAttributeKey

CLUSTER = SearchAttributeKey.for_keyword("KafkaCluster")
RUNBOOK = SearchAttributeKey.for_keyword("Runbook")
PHASE = SearchAttributeKey.for_keyword("Phase")
REQUESTER = SearchAttributeKey.for_keyword("Requester")
TICKET = SearchAttributeKey.for_keyword("Ticket")

ALL = (CLUSTER, RUNBOOK, PHASE, REQUESTER, TICKET)
"""Keywords, all of them."""
