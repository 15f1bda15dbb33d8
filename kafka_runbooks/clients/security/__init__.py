"""How connections to Kafka are secured: what is configured, what the files hold now, and why a broker doesn't take it.

Two libraries connect to a cluster. Both get their configuration from one model (`settings`), through one object (`connection`),
and are asked why nobody answers by one function (`probe`), since neither tells an expired certificate from a wrong name.
"""
