"""A real Kubernetes with a real Kafka and a real Temporal on one Linux machine, without a container engine or a registry.

The demo and the tests run on it. Everything lives in namespaces of its own (`machines`), so that a node can lose its
power as a real one does and so that taking the lab down leaves nothing on the host. More: docs/development/lab.md.
"""
