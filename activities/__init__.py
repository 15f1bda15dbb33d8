"""Named, retryable, idempotent steps: read the world through clients, decide by the pure modules, act."""
