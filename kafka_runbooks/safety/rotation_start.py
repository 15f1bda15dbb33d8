"""Every reason not to begin a rotation of certificates, and who would be refused by its end.

Pure: from what was found of each node and of who issues. All reasons at once, each with its remedy.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from kafka_runbooks.models.certificates import Certificate, ClientHandshake, Stores
from kafka_runbooks.models.kubernetes import SecretMount
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.rotation_plan import RotationPlan
from kafka_runbooks.models.rotations import Mode
from kafka_runbooks.safety.availability import listed


class FoundStores(NamedTuple):
    """What was found of one node."""

    name: str
    pod: str
    stores: Sequence[Stores]
    """Its listeners with TLS; none: nobody tells, or there is none."""
    mounts: Sequence[SecretMount]
    has_record: bool
    """The agent in its pod, of this uid, has recorded its files. A controller's pod may have none."""
    served: Certificate | None
    """None: no handshake got that far."""
    problem: str | None = None
    is_broker: bool = True


def against_node(found: FoundStores, mode: Mode) -> list[Reason]:
    """Why this node's files can't be changed."""
    if not found.stores:
        return [
            Reason(
                name=f"no-tls:{found.pod}",
                message=f"{found.name}: nobody tells a listener with TLS of it",
                remedy="let it answer, or give it TLS first",
            )
        ]
    reasons = []
    files = {(stores.keystore, stores.truststore) for stores in found.stores}
    if len(files) > 1:
        reasons.append(
            Reason(
                name=f"several-stores:{found.pod}",
                message=f"{found.name}: its listeners have several keystores or truststores",
                remedy="let all listeners use one keystore and one truststore",
            )
        )
    if not all(stores.is_pem for stores in found.stores):
        reasons.append(
            Reason(
                name=f"not-pem:{found.pod}",
                message=f"{found.name}: its stores aren't PEM, and have a password",
                remedy="set ssl.keystore.type and ssl.truststore.type to PEM, with files as docs/security.md says",
            )
        )
    for file in sorted({file or "" for pair in files for file in pair}):
        reasons += _of_secret(found, file)
    if not found.has_record and found.is_broker:
        reasons.append(
            Reason(
                name=f"no-record:{found.pod}",
                message=f"{found.name}: the agent in pod {found.pod} hasn't recorded its TLS files",
                remedy="run the agent of this release in the pod, with the same Secret mounted: it tells when a file has changed",
            )
        )
    if mode == "change-authority" and all(stores.client_authentication == "none" for stores in found.stores):
        reasons.append(
            Reason(
                name=f"trust-unseen:{found.pod}",
                message=f"{found.name}: no listener asks for client certificates, so nobody can see which authorities it trusts",
                remedy="set ssl.client.auth to requested or required on one listener",
            )
        )
    return reasons


def _of_secret(found: FoundStores, file: str) -> list[Reason]:
    mounts = [mount for mount in found.mounts if file and mount.key_of(file) is not None]
    if not mounts:
        return [
            Reason(
                name=f"no-secret:{found.pod}",
                message=f"{found.name}: {file or 'its truststore'} isn't in a Secret that is mounted into pod {found.pod}",
                remedy="mount the Secret that has it, as a whole",
            )
        ]
    if any(mount.is_sub_path for mount in mounts):
        return [
            Reason(
                name=f"sub-path:{found.pod}",
                message=f"{found.name}: {file} is mounted by subPath, so the kubelet never changes it while the pod lives",
                remedy="mount the whole Secret into a directory",
            )
        ]
    return []


def down(found: FoundStores) -> list[Reason]:
    """A risk: the rotation waits for it before each next phase."""
    if found.served is not None or not found.stores:
        return []
    return [
        Reason(
            name=f"down:{found.pod}",
            message=f"{found.name} can't be seen: {found.problem or 'it does not answer'}",
            remedy="bring it back first; or acknowledge it, and each phase ends only when it has answered",
            can_be_acknowledged=True,
        )
    ]


def expired(found: FoundStores, now: datetime) -> list[Reason]:
    """Nobody who verifies it can connect anew, so Kafka can't be asked which nodes may be down."""
    if found.served is None or found.served.not_after > now:
        return []
    return [
        Reason(
            name=f"expired:{found.pod}",
            message=f"{found.name}: its certificate has expired on {found.served.not_after:%Y-%m-%d %H:%M} UTC",
            remedy="use mode renew with break_glass: nodes whose certificate has expired restart although Kafka can't be asked",
        )
    ]


def other_authority(mode: Mode, served: Mapping[str, str | None], wanted: str) -> list[Reason]:
    """Renewing by another authority is a change of authority, which all must trust first."""
    others = sorted(name for name, authority in served.items() if authority != wanted)
    if mode == "change-authority" or not others:
        return []
    return [
        Reason(
            name="other-authority",
            message=f"{', '.join(others[:10])}: the certificate isn't of the issuer's authority",
            remedy="use mode change-authority, or name the issuer that has issued it",
        )
    ]


def refused_pairs(broken: Sequence[str]) -> list[Reason]:
    """Somebody refuses somebody already."""
    if not broken:
        return []
    return [
        Reason(
            name="already-cut-off",
            message="; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else ""),
            remedy="let everybody trust every authority that is in use: add it to the truststores, and start again",
        )
    ]


def ending_soon(served: Mapping[str, Certificate], now: datetime, eta: timedelta) -> list[str]:
    """Notes: certificates that end before the rotation does."""
    late = sorted(name for name, one in served.items() if one.not_after < now + eta)
    return [f"the certificate of {name} ends before this is done" for name in late[:20]]


def unfit_life(issued: Certificate, now: datetime, eta: timedelta) -> str | None:
    """Why what was issued is no use, by its dates; None: it is."""
    if issued.not_before > now:
        ahead = (issued.not_before - now).total_seconds()
        return f"it is valid only in {ahead:.0f} s: the issuer's clock, or this worker's, is wrong"
    if issued.not_after < now + eta:
        return f"it ends on {issued.not_after:%Y-%m-%d %H:%M} UTC, before the rotation does: let the issuer give a longer life"
    return None


def unknown_canary(given: int | None, brokers: Collection[int]) -> list[Reason]:
    """The given canary is no broker."""
    if given is None or given in brokers:
        return []
    return [
        Reason(
            name="unknown-canary",
            message=f"canary_node_id: the cluster has no broker {given}",
            remedy=f"give one of {listed(sorted(brokers), 30)}",
            is_bad_input=True,
        )
    ]


def old_clients(handshakes: Iterable[ClientHandshake], plan: RotationPlan) -> list[ClientHandshake]:
    """Those of somebody else who presented a certificate of an authority that is to be dropped."""
    old = {_written_alike(subject) for subject in plan.old_subjects}
    befores = [*(node.before for node in plan.nodes), *(one.before for one in plan.clients if one.before is not None)]
    ours = {_written_alike(before.subject) for before in befores}
    return [one for one in handshakes if _written_alike(one.issuer) in old and _written_alike(one.subject) not in ours]


def _written_alike(name: str) -> str:
    """Java puts a space after each comma of a distinguished name."""
    return re.sub(r",\s+", ",", name)
