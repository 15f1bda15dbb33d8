"""A cluster's metadata as one worker knows them: the whole cluster some seconds old and for all its runs, some topics as of now.

The metadata of 200,000 partitions cost a second and ten megabytes, and a look needs only those of what moves. The rest is asked
for at most every `REFRESH_SECONDS`, by a thread of its own while looks go on with what is known; how old that may be, the caller
says, and what is older is asked for at once. Whatever a look has asked since stays on top of it, so that nothing goes back in
time when the look ends.

What is let go for ever is never decided on this (`activities.proof`): there every question is asked anew.
"""

import threading
import time
from collections.abc import Collection
from typing import NamedTuple

from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.models.cluster import ClusterSnapshot

REFRESH_SECONDS = 10.0
"""What is older is renewed, in the background as long as it is within the caller's bound."""
MINIMUM_IN_SYNC_SECONDS = 60.0
"""How old `min.insync.replicas` may be of topics that no look asks for: people change it, and seldom."""


class _Asked(NamedTuple):
    """An answer, and when it was asked for, by a monotonic clock."""

    at: float
    snapshot: ClusterSnapshot


class Snapshots:
    """One cluster's, for all runs in this worker; any number of threads may use it."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._asking = threading.Lock()
        """Held by who asks for the whole cluster: the others wait for that answer."""
        self._state = threading.Lock()
        self._whole: _Asked | None = None
        self._latest: ClusterSnapshot | None = None
        """The whole cluster, and what looks have asked since."""
        self._since: dict[str, _Asked] = {}
        """Topic -> the last look's answer that has it, where that is newer than the whole."""

    def now(self) -> ClusterSnapshot:
        """The whole cluster, and every setting, asked for now."""
        return self.recent(0.0)

    def recent(self, at_most_seconds: float) -> ClusterSnapshot:
        """The whole cluster, of which nothing is older than this."""
        with self._state:
            age = None if self._whole is None else time.monotonic() - self._whole.at
        if age is None or age >= at_most_seconds:
            self._ask_at_once(at_most_seconds)
        elif age > REFRESH_SECONDS and self._asking.acquire(blocking=False):
            threading.Thread(target=self._refresh, name="metadata", daemon=True).start()
        with self._state:
            assert self._latest is not None
            return self._latest

    def with_topics(self, topics: Collection[str], at_most_seconds: float) -> ClusterSnapshot:
        """The whole cluster, of which these topics and the brokers are asked for now and nothing else is older than this."""
        self.recent(at_most_seconds)
        if topics:
            at = time.monotonic()
            found = self._kafka.snapshot(topics, minimum_in_sync_seconds=min(MINIMUM_IN_SYNC_SECONDS, at_most_seconds))
            self._add(topics, _Asked(at, found))
        with self._state:
            assert self._latest is not None
            return self._latest

    def _add(self, topics: Collection[str], asked: _Asked) -> None:
        with self._state:
            assert self._latest is not None
            newer = [topic for topic in topics if topic not in self._since or self._since[topic].at <= asked.at]
            self._since.update(dict.fromkeys(newer, asked))
            self._latest = self._latest.with_topics(asked.snapshot, newer)

    def _ask_at_once(self, at_most_seconds: float) -> None:
        called_at = time.monotonic()
        with self._asking:
            with self._state:
                whole = self._whole
            # Somebody may have asked while this one waited.
            if whole is not None and whole.at > called_at - at_most_seconds:
                return
            self._ask(MINIMUM_IN_SYNC_SECONDS if at_most_seconds else 0.0)

    def _refresh(self) -> None:
        try:
            self._ask(MINIMUM_IN_SYNC_SECONDS)
        except ClientError:
            pass  # Who needs a newer one asks at once, and is told why there is none.
        finally:
            self._asking.release()

    def _ask(self, minimum_in_sync_seconds: float) -> None:
        at = time.monotonic()
        whole = self._kafka.snapshot(minimum_in_sync_seconds=minimum_in_sync_seconds)
        with self._state:
            self._whole = _Asked(at, whole)
            self._since = {topic: asked for topic, asked in self._since.items() if asked.at > at}
            self._latest = whole
            for asked in sorted({one.at: one for one in self._since.values()}.values(), key=lambda one: one.at):
                topics = [topic for topic, one in self._since.items() if one.at == asked.at]
                self._latest = self._latest.with_topics(asked.snapshot, topics)
