"""`activities.permits.Fence` without Temporal: what it answers is the test's to say."""

from activities.errors import PermitLost, TemporalUnreachable
from activities.permits import Fence


class FakeFence(Fence):
    """Open, unless the permit `is_lost`, or nobody knows (`is_away`)."""

    def __init__(self, link: object = None, token: object = None) -> None:
        self.is_lost = False
        self.is_away = False
        self.asked = 0

    def check(self) -> None:
        self.ask()

    def check_for_less(self) -> None:
        if not self.is_away:
            self.ask()

    def ask(self) -> None:
        self.asked += 1
        if self.is_lost:
            raise PermitLost("another run holds the cluster")
        if self.is_away:
            raise TemporalUnreachable("Temporal doesn't answer")
