"""Frozen pydantic models: what runbooks observe, want, plan and report. Nothing here does anything."""
