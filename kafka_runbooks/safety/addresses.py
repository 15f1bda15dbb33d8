"""Since when the other nodes find a node that has restarted.

A pod that is made anew has another IP address. Whoever has resolved its name before keeps the former one: Java for 30 s
(`networkaddress.cache.ttl`), and a DNS cache on the way for as long as it likes. A connection to an address that is no more
fails only after 10 s (`socket.connection.setup.timeout.ms`). A broker that leads again within that time waits so long for its
followers' fetches, and with it every producer with `acks=all`; a controller that becomes active is as late with brokers'
heartbeats, whose sessions last 9 s (`broker.session.timeout.ms`).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from kafka_runbooks.models.kubernetes import BrokerPod, ControllerPod


def not_found_yet(pods: Iterable[BrokerPod | ControllerPod], address_cache_seconds: float, now: datetime) -> dict[int, datetime]:
    """Nodes whose former address others may still connect to.

    A process that the kubelet started again in its pod counts too, though its address is the same: nothing tells the two apart.
    One that has started in the future doesn't: its machine's clock is not ours.

    Args:
        pods: of brokers and controllers.
        address_cache_seconds: for how long at most a former address is kept, in all caches together.
        now: the time.

    Returns:
        Node id -> until when.
    """
    lasts = timedelta(seconds=address_cache_seconds)
    return {
        pod.node_id: pod.started_at + lasts
        for pod in pods
        if pod.node_id is not None and pod.started_at is not None and pod.started_at <= now < pod.started_at + lasts
    }
