"""Schedules of runbooks: declared in one file, and applied to Temporal, which keeps them and needs no worker to."""
