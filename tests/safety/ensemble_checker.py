"""May this member go down? Counted from what each member says, without the code that is checked (`safety.ensemble`)."""

from collections.abc import Collection

from kafka_runbooks.models.ensemble import Ensemble


def may_go(ensemble: Ensemble, server_id: int, later: Collection[int] = (), shutting_down: Collection[int] = ()) -> bool:
    """By the rules as a person would write them on paper."""
    if ensemble.committed_zxid is None:
        return False
    configured = {server.server_id: not server.is_observer for server in ensemble.servers}
    said: dict[int, list[tuple[str, int]]] = {}
    for member in ensemble.members:
        if member.mode is not None and member.server_id is not None:
            said.setdefault(member.server_id, []).append((str(member.mode), -1 if member.zxid is None else member.zxid))
    leaders = [one for one, words in said.items() for mode, _ in words if mode == "leader"]
    if server_id not in configured or len(leaders) != 1 or any(len(said.get(one, [])) > 1 for one in configured):
        return False
    whole = set()
    for one, words in said.items():
        mode, zxid = words[0]
        if one in configured and mode in ("leader", "follower", "observer") and zxid >= ensemble.committed_zxid:
            whole.add(one)
    mode = said[server_id][0][0] if server_id in said else "away"
    is_away = mode in ("away", "not serving")
    others = set(configured) - {server_id}
    if not is_away and (others - whole or others & set(shutting_down)):
        return False  # It would be the second.
    voters = {one for one, votes in configured.items() if votes}
    majority = len(voters) / 2
    if server_id in voters:
        if not len(voters & whole - {server_id} - set(shutting_down)) > majority:
            return False
        # The leader's own count, of itself and its followers, without the one that goes.
        if ensemble.synced_followers is None:
            return False
        if not ensemble.synced_followers + 1 - (0 if is_away else 1) > majority:
            return False
    return not (mode == "leader" and set(later) - {server_id})
