"""Carrying a plan out: what may start now, how far it is, whether the cluster still fits the plan. Pure."""
