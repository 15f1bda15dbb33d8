"""Which brokers may be unavailable at the same time, whether a runbook may start, and whether it is done: pure rules."""
