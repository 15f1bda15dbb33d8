"""The lab's network: one namespace without a route to the outside; its addresses, and the network side of a power cut.

All nodes share the namespace, so one kube-proxy serves the Service addresses of all of them. The dead node's addresses
are routed into the `dark` device, which drops packets silently. Without it, peers' connections would be closed or
refused at once, as when a process dies, not a machine. Service addresses are routed there too: kube-proxy
redirects packets to them, but only those that had a route to begin with.
"""

import json

from kafka_runbooks_lab.machines import Machine

HOST = "10.99.0.1"
"""The address of the control plane, Temporal, and everything else that runs outside of the nodes."""

SERVICES = "10.97.0.0/24"
PODS = "10.98.0.0/16"
DNS = "10.97.0.10"
TEMPORAL = "10.97.0.11"
"""Of the first sixteen of a /24, which Services that ask for no address get only when all others are taken (KEP-3070)."""
RESOLV_CONF = f"nameserver {DNS}\nsearch kafka.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"

SET_UP = f"""
ip link set lo up
ip addr add {HOST}/32 dev lo
ip link add dark0 type veth peer name dark1
ip link set dark0 arp off
ip link set dark0 up
ip link set dark1 up
ip route add {SERVICES} dev dark0 src {HOST}
echo 1 > /proc/sys/net/ipv4/ip_forward
"""


def node_address(number: int) -> str:
    return f"10.99.0.{10 + number}"


def pod_subnet(number: int) -> str:
    return f"10.98.{number}.0/24"


def light(lab: Machine, number: int) -> None:
    """Give a node its address; undo `darken`."""
    for target in (f"{node_address(number)}/32", pod_subnet(number)):
        lab.run("ip", "route", "del", target, "dev", "dark0", check=False)
    lab.run("ip", "addr", "replace", f"{node_address(number)}/32", "dev", "lo")


def darken(lab: Machine, number: int) -> None:
    """Disconnect a node before its processes are killed, so that none of their FINs or RSTs reaches a peer.

    Deleted, not set down: the kernel holds on to a dead pod's network while its unanswered connections last, for
    minutes, and a link that still exists would keep the route to an address that the next pod is given.
    """
    prefix = pod_subnet(number).removesuffix("0/24")
    batch = [
        f"link del {route['dev']}"
        for route in json.loads(lab.run("ip", "-json", "route", "show"))
        if str(route["dst"]).startswith(prefix)
    ]
    batch += [f"addr del {node_address(number)}/32 dev lo"]
    batch += [f"route replace {target} dev dark0" for target in (f"{node_address(number)}/32", pod_subnet(number))]
    lab.run("ip", "-force", "-batch", "-", input="\n".join(batch) + "\n", check=False)
