"""What members answer to four-letter words, and the ensemble's own configuration (`QuorumMaj.toString`)."""

import re

from kafka_runbooks.clients.errors import ClientError, Refused
from kafka_runbooks.models.ensemble import EnsembleMember, Mode, Server

NOT_SERVING = "This ZooKeeper instance is not currently serving requests"
NOT_ALLOWED = "is not executed because it is not in the whitelist"


def member(address: str, answer: dict[str, str] | ClientError, servers: tuple[Server, ...]) -> EnsembleMember:
    """What an address says of itself.

    Raises:
        Refused: the member isn't allowed to answer; the message says which setting lets it.
    """
    by_address = _by_address(address, servers)
    if isinstance(answer, ClientError):
        return EnsembleMember(address=address, server_id=by_address, fault=str(answer))
    for word, text in answer.items():
        if NOT_ALLOWED in text:
            words = ",".join(answer)
            raise Refused(f"{address} doesn't answer to {word}: set 4lw.commands.whitelist={words} in its zoo.cfg")
    if answer["srvr"].startswith(NOT_SERVING):
        return EnsembleMember(address=address, server_id=by_address, mode=Mode.NOT_SERVING)
    said, configured = _lines(answer["srvr"], ": "), _lines(answer["conf"], "=")
    mode = said.get("Mode")
    if mode not in list(Mode):
        return EnsembleMember(address=address, server_id=by_address, fault=f"{address}: doesn't answer as ZooKeeper does")
    server_id = configured.get("serverId", "")
    return EnsembleMember(
        address=address,
        server_id=int(server_id) if server_id.isdecimal() else by_address,
        mode=Mode(mode),
        zxid=int(said["Zxid"], 16) if "Zxid" in said else None,
        version=said.get("Zookeeper version", "").split("-")[0] or None,
    )


def synced_followers(answer: dict[str, str]) -> int | None:
    """The leader's own count; None from others."""
    count = _lines(answer["mntr"], "\t").get("zk_synced_followers", "").split(".")[0]
    return int(count) if count.isdecimal() else None


def servers(configuration: bytes | None) -> tuple[Server, ...]:
    """The servers of `/zookeeper/config`; none of a single server.

    Raises:
        Refused: it isn't one that we can count a quorum of.
    """
    if configuration is None:
        raise Refused("the ensemble has no znode /zookeeper/config: ZooKeeper 3.6 or newer is needed")
    lines = configuration.decode().splitlines()
    if any(line.startswith(("group.", "weight.")) for line in lines):
        raise Refused("the ensemble has groups or weights (a hierarchical quorum), which aren't supported")
    return tuple(_server(found) for line in lines if (found := _SERVER.match(line)))


_SERVER = re.compile(r"server\.(?P<id>\d+)=(?P<addresses>[^;]*?)(:(?P<role>participant|observer))?(;(?P<client>.*))?$")
"""`server.<id>=<host>:<port>:<port>[|…][:<role>][;[<host>:]<client port>]`"""


def _server(found: re.Match[str]) -> Server:
    host = found["addresses"].split("|")[0].rsplit(":", 2)[0].strip("[]")
    client = (found["client"] or "").rpartition(":")[2]
    return Server(
        server_id=int(found["id"]),
        host=host,
        client_port=int(client) if client.isdecimal() else None,
        is_observer=found["role"] == "observer",
    )


def _by_address(address: str, servers: tuple[Server, ...]) -> int | None:
    """Whose address it is, if it can be no other's."""
    host, _, port = address.rpartition(":")
    of_host = [server for server in servers if server.host == host.strip("[]")]
    found = [server for server in of_host if server.client_port == int(port)] or of_host
    return found[0].server_id if len(found) == 1 else None


def _lines(text: str, separator: str) -> dict[str, str]:
    parts = (line.partition(separator) for line in text.splitlines())
    return {key.strip(): value.strip() for key, found, value in parts if found}
