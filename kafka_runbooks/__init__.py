"""The on-call runbooks of Kafka clusters in Kubernetes, as durable Temporal workflows."""
