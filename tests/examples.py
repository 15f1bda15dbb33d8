"""The number of examples that hypothesis tries, by tier: `make unit` a few, `make test` more, `make soak` twenty times that. The
profile is chosen on the command line (`--hypothesis-profile`).

`make unit` and `make test` try the same examples each time, so that a change is judged by what it changes; the search for new
ones is `make soak`'s, and what it finds becomes an example of its test.
"""

from hypothesis import settings

NORMAL = 50

# No deadline for one example: on a busy machine it would measure the machine.
settings.register_profile("unit", max_examples=15, deadline=None, derandomize=True)
settings.register_profile("test", max_examples=NORMAL, deadline=None, derandomize=True)
settings.register_profile("soak", max_examples=20 * NORMAL, deadline=None)
settings.load_profile("test")


def examples(count: int) -> int:
    """The `max_examples` of a property that is tried on half of `count` in `make test`."""
    return max(5, count * settings().max_examples // 100)
