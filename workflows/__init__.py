"""Deterministic runbooks, one module each, and the few parts that they share."""
