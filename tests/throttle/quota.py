"""A simulation of Kafka's replication quota (`ReplicationQuotaManager`, `SimpleRate`): what passes, second by second."""

from collections.abc import Callable

SAMPLES = 11
"""`replication.quota.window.num`, each of `replication.quota.window.size.seconds`: one second."""
FETCH_BYTES = 10_000_000
"""A fetch is delayed or not as a whole: if not, its full response passes (`replica.fetch.response.max.bytes`)."""
LINE_BYTES_PER_S = 300_000_000


def passed(rate_bytes_per_s: Callable[[float], float], seconds: int, *, idle_before: bool) -> list[int]:
    """Bytes that a follower with enough to fetch gets in each second.

    Args:
        rate_bytes_per_s: the quota in force, by seconds since the follower's first fetch.
        idle_before: whether in-sync followers have fetched a little of the same partitions for longer than the window.
    """
    samples = [(float(at), 50_000) for at in range(-SAMPLES + 1, 1)] if idle_before else []
    found, at = [0] * seconds, 0.0
    while at < seconds:
        samples = [sample for sample in samples if sample[0] > at - SAMPLES]
        if not samples or at - samples[-1][0] >= 1:
            samples.append((at, 0))
        measured = sum(size for _, size in samples) / max(1.0, at - samples[0][0])
        if measured > rate_bytes_per_s(at):
            at += 0.02
            continue
        samples[-1] = (samples[-1][0], samples[-1][1] + FETCH_BYTES)
        found[int(at)] += FETCH_BYTES
        at += FETCH_BYTES / LINE_BYTES_PER_S
    return found
