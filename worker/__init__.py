"""The worker as a process: `python -m worker`."""
