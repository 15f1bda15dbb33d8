"""Which replica lives on which broker: pure functions from an observed cluster and a wish to a plan."""
