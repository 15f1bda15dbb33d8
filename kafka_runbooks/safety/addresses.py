"""Since when the other nodes find a node that has restarted.

A pod that is made anew has another IP address. Whoever has resolved its name before keeps the former one: Java for 30 s
(`networkaddress.cache.ttl`), and a DNS cache on the way for as long as it likes. A connection to an address that is no more
fails only after 10 s (`socket.connection.setup.timeout.ms`). A broker that leads again within that time waits so long for its
followers' fetches, and with it every producer with `acks=all`; a controller that becomes active is as late with brokers'
heartbeats, whose sessions last 9 s (`broker.session.timeout.ms`), and a member that leads an ensemble with its followers.
"""

from datetime import datetime, timedelta

from kafka_runbooks.models.kubernetes import KafkaPod


def may_be_missed(pod: KafkaPod, address_cache_seconds: float, now: datetime) -> bool:
    """Whether others may still connect to the address that a node had before this pod.

    A process that the kubelet started again in its pod counts too, though its address is the same: nothing tells the two apart.
    One that has started in the future doesn't: its machine's clock is not ours.

    Args:
        pod: of a broker, a controller, or a member of a ZooKeeper ensemble.
        address_cache_seconds: for how long at most a former address is kept, in all caches together.
        now: the time.
    """
    started_at = pod.started_at
    return started_at is not None and started_at <= now < started_at + timedelta(seconds=address_cache_seconds)
