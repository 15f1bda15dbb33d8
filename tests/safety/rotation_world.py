"""Parties of a rotation that a test moves by hand: Secrets are written, files come late, processes load them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kafka_runbooks.models.rotations import Change, Goal, Mode, Party, Phase, Places, Presented, Trusted
from kafka_runbooks.safety.rotations import RESTARTS

OLD, NEW = "old", "new"
BEFORE, AFTER = Presented("before", OLD), Presented("after", NEW, is_wanted=True)
RENEWED = Presented("renewed", OLD, is_wanted=True)


def party(name: str, *, is_client: bool = False, reloads: bool = True, is_controller: bool = False) -> Party:
    """As it is before a rotation."""
    trusted: Trusted = frozenset({OLD})
    served = not is_client
    return Party(
        name,
        Places(BEFORE, BEFORE, BEFORE if served else None),
        Places(trusted, trusted, trusted if served else None),
        is_client=is_client,
        is_controller=is_controller,
        reloads=reloads,
        started_certificate=BEFORE if served else None,
        started_trust=trusted if served else None,
    )


def goal(mode: Mode = "change-authority", **fields: object) -> Goal:
    is_change = mode == "change-authority"
    return replace(
        Goal(mode, NEW if is_change else OLD, frozenset({OLD}) if is_change else frozenset(), canary="broker 1"),
        **fields,  # type: ignore[arg-type]
    )


@dataclass
class Parties:
    """Every one by name."""

    goal: Goal
    all: dict[str, Party]

    @classmethod
    def of(cls, wanted: Goal, parties: Iterable[Party]) -> "Parties":
        return cls(wanted, {one.name: one for one in parties})

    @property
    def seen(self) -> list[Party]:
        return list(self.all.values())

    def write(self, name: str, phase: Phase) -> None:
        """The Secret gets what the phase is about."""
        was = self.all[name]
        if phase in RESTARTS:
            return
        if phase in (Phase.CERTIFICATES, Phase.CONTROLLERS):
            wanted = AFTER if self.goal.old else RENEWED
            self.all[name] = replace(was, certificate=replace(was.certificate, secret=wanted))
            return
        trusted = was.trust.secret or frozenset()
        now = trusted | {self.goal.authority} if phase is Phase.TRUST else trusted - self.goal.old
        self.all[name] = replace(was, trust=replace(was.trust, secret=now))

    def arrive(self, name: str) -> None:
        """The kubelet brings the Secret into the files."""
        was = self.all[name]
        self.all[name] = replace(
            was,
            certificate=replace(was.certificate, file=was.certificate.secret),
            trust=replace(was.trust, file=was.trust.secret),
        )

    def load(self, name: str) -> None:
        """The process reads its files again."""
        was = self.all[name]
        if was.is_client or not was.is_up:
            return
        certificate = replace(was.certificate, served=was.certificate.file)
        self.all[name] = replace(was, certificate=certificate, trust=replace(was.trust, served=was.trust.file))

    def restart(self, name: str, *, anew: bool) -> None:
        """Its process starts again; with `anew` in a new pod, which has the Secret."""
        if anew:
            self.arrive(name)
        if self.all[name].is_up:
            self._start(name)

    def _start(self, name: str) -> None:
        self.load(name)
        now = self.all[name]
        self.all[name] = replace(now, started_certificate=now.certificate.file, started_trust=now.trust.file)

    def fall(self, name: str) -> None:
        was = self.all[name]
        self.all[name] = replace(
            was,
            is_up=False,
            certificate=replace(was.certificate, served=None),
            trust=replace(was.trust, served=None),
            started_certificate=None,
            started_trust=None,
        )

    def rise(self, name: str) -> None:
        if not self.all[name].is_up:
            self.all[name] = replace(self.all[name], is_up=True)
            self._start(name)

    def carry_out(self, change: Change) -> None:
        """The whole of a change, uninterrupted."""
        for name in change.names:
            self.write(name, change.phase)
            self.arrive(name)
            (self._start if change.by_restart else self.load)(name)
