"""What runs beside a broker in its pod: identity, rack, liveness, readiness."""
