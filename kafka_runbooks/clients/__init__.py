"""The outside world behind small Protocols: Kafka, Kubernetes, and the stores of plans and leases."""
