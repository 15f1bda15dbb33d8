"""Who may go down, when, and together with whom: pure rules from an observed cluster to verdicts."""
