"""The balance while the engine runs: struck again and again from the records, shown as gauges."""

from ifengine.errors import EngineError
from ifengine.routes.parts import Parts
from ifengine.store.account import Account
from ifengine.store.balance import Balance
from ifengine.store.base import Reader

EVERY_SECONDS = 5.0
SHARE = 20  # a look rests at least so many times as long as it took: at most 5 % of one core
PAGE = 500  # rows of a kind in one look: messages read in the same thread wait no longer


class BalanceCheck:
    """Strikes the balance of everything that is open since the start, and shows its residue.

    It begins with what was open at the start: what an older balance would have shown stays with
    `ifengine tally`, which reads everything.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._account = Account(from_now=True)
        self._next = 0.0
        self._looking = False
        self._uneven: set[tuple[str, str]] = set()
        self.struck = 0
        self.faults = 0

    @property
    def places(self) -> int:
        """How many channels and destinations had a residue when it was struck last."""
        return len(self._uneven)

    def turn(self, now: float) -> None:
        """Look, when it is time and no look is under way."""
        if now >= self._next and not self._looking:
            self._looking = True
            self._parts.spawn(self._look())

    async def _look(self) -> None:
        parts, clock = self._parts, self._parts.clock
        took, is_behind = 0.0, False

        def read(reader: Reader) -> tuple[Balance | None, float]:
            begun = clock.monotonic()
            found = self._account.look(reader.tally(), PAGE)
            return found, clock.monotonic() - begun

        try:
            found, took = await parts.read(read)
            is_behind = found is None
            if found is not None:
                self.show(found)
        except EngineError:
            pass  # the store says itself what is wrong; the time of the last balance stands still
        finally:
            rest = SHARE * took
            # where much came in since, the next page follows soon
            self._next = clock.monotonic() + (rest if is_behind else max(EVERY_SECONDS, rest))
            self._looking = False

    def show(self, balance: Balance) -> None:
        """Bring the gauges up to a balance."""
        parts, metrics = self._parts, self._parts.metrics
        residues: dict[tuple[str, str], int] = {}
        for number in {*balance.owed, *(number for number, _ in balance.states)}:
            channel, _, destination = parts.names.name(number).partition(".")
            residues[channel, destination] = balance.residue(number)
        for number in balance.accepted:
            residues[parts.names.name(number), ""] = balance.channel_residue(number)
        uneven = {labels for labels, residue in residues.items() if residue}
        for labels in residues.keys() | self._uneven:
            metrics.balance_residue.labels(*labels).set(residues.get(labels, 0))
        self._uneven = uneven
        self.faults = len(balance.faults)
        metrics.balance_faults.set(self.faults)
        metrics.balance_struck_timestamp_seconds.set(parts.clock.now_us() / 1e6)
        self.struck += 1
