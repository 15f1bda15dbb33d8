"""Which replica of each set is its preferred leader: balanced by count, or by the bytes that consumers read."""
