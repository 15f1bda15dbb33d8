"""The number of examples that hypothesis tries, by tier: `make unit` a few, `make test` as many as the test says, `make soak` ten
times that. The profile is chosen on the command line (`--hypothesis-profile`)."""

from hypothesis import settings

NORMAL = 100

# No deadline for one example: on a busy machine it would measure the machine.
settings.register_profile("unit", max_examples=30, deadline=None)
settings.register_profile("test", max_examples=NORMAL, deadline=None)
settings.register_profile("soak", max_examples=10 * NORMAL, deadline=None)
settings.load_profile("test")


def examples(count: int) -> int:
    """The `max_examples` of a property that is tried on `count` of them in `make test`."""
    return max(5, count * settings().max_examples // NORMAL)
