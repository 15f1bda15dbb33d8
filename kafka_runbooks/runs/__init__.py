"""Runs as seen from outside: what command and page have in common. It reaches Temporal and nothing else, and prints nothing."""
