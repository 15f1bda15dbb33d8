"""What must hold at every moment of a rotation, said without the rules that keep it: any two may connect, whoever restarts.

A restart brings into force what is in the files, and a new pod what is in the Secret. So of any two parties each certificate
that one may present has to be of an authority that the other trusts at each of its places. A file that can't be used presents
none.
"""

from collections.abc import Sequence

from kafka_runbooks.models.rotations import NOTHING, Party


def broken(parties: Sequence[Party]) -> list[str]:
    """Every pair that couldn't connect, or couldn't after a restart; empty: nothing is wrong."""
    wrong = []
    for presenting in parties:
        for trusting in parties:
            if presenting.is_client and trusting.is_client:
                continue
            for presented in (one for one in presenting.certificate.known() if one != NOTHING):
                for trusted in trusting.trust.known():
                    if presented.authority is None or presented.authority not in trusted:
                        wrong.append(f"{trusting.name} refuses the certificate {presented.sha256[:8]} of {presenting.name}")
    for controller in (one for one in parties if one.is_controller):
        for node in (one for one in parties if not one.is_client):
            wrong += _quorum(node, controller)
    return list(dict.fromkeys(wrong))


def _quorum(node: Party, controller: Party) -> list[str]:
    """A node's connection of the quorum goes by what its process was started with."""
    wrong, started = [], node.started_certificate
    for trusted in controller.trust.known():
        if started is not None and started.authority not in trusted:
            wrong.append(f"{controller.name} refuses the certificate {started.sha256[:8]} that {node.name} was started with")
    for presented in (one for one in controller.certificate.known() if one != NOTHING):
        if node.started_trust is not None and presented.authority not in node.started_trust:
            wrong.append(f"{node.name} was started without trust in the certificate {presented.sha256[:8]} of {controller.name}")
    return wrong


def changed(before: Sequence[Party], after: Sequence[Party]) -> dict[str, int]:
    """Party -> how many of its two things, certificate and trust, have another value in its Secret than before."""
    was = {party.name: party for party in before}
    counts = {
        party.name: (party.certificate.secret != was[party.name].certificate.secret)
        + (party.trust.secret != was[party.name].trust.secret)
        for party in after
        if party.name in was
    }
    return {name: count for name, count in counts.items() if count}
