"""Certificates of a cluster's nodes: who issues them, the Secrets that they live in, and what handshakes show of them."""
