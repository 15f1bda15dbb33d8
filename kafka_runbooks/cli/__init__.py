"""The `kafka-runbooks` command: start runbooks, watch them, decide at the gate, and plan where replicas live."""
