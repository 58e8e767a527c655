"""Application acknowledgments that come after the accept acknowledgment (safety-rules.md 4).

After CA a delivery is sent, and nothing sends it again. What its receiver makes of it comes later as
a message of its own, matched by MSA-2 before any channel sees it. A yes is written beside the
delivery. A no makes a dead letter of it. A silence is counted when its time is over. What waits is
remembered in the transaction of the outcome; an answer counts in the transaction that stores it.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from ifengine.errors import SealError
from ifengine.hl7.ack import accepted
from ifengine.hl7.header import read_header
from ifengine.routes.application_contract import Failing, Matched, Settled
from ifengine.routes.application_failing import Refused, find_failed
from ifengine.routes.application_matching import (
    SAYS_ALL,
    Came,
    Fit,
    decides,
    match,
    read_application,
)
from ifengine.routes.application_waiting import Early, Sent, Stage, Waiting
from ifengine.routes.config.models import ApplicationAck
from ifengine.routes.memory import Memories
from ifengine.routes.parts import Parts
from ifengine.store.base import (
    AttemptRow,
    Batch,
    InboxKind,
    NameKind,
    NewAudit,
    NewInboxEntry,
    Reader,
    StateRow,
)
from ifengine.store.sealing import BlobKind
from ifengine.transforms.memory import Change, Key, Remembered, Space

PAGE = 500
MOST_A_TURN = 200  # deadlines that one turn looks at
KEPT_US = 30 * 86_400 * 1_000_000  # a late answer is still matched so long after its deadline
DAY_US = 86_400 * 1_000_000
ACKNOWLEDGMENT = "acknowledgment"
APPLICATION = "application_"  # how these stand among the attempts of a delivery


class ApplicationAnswers:
    """Who waits for application acknowledgments, in one engine. Used on the loop.

    It stands still until ``go``: dead letters are written once the outboxes know their own.
    """

    def __init__(self, parts: Parts, memories: Memories, outboxes: Mapping[int, Failing]) -> None:
        self._parts = parts
        self._memories = memories
        self._outboxes = outboxes
        self._listening: dict[str, set[int]] = {}  # listening connection -> outboxes
        self._same: set[int] = set()  # outboxes that get their answers where they send
        self._longest_us = 0
        self._due: list[tuple[float, Key, int]] = []  # monotonic seconds, place, seq
        self._refusing: set[Key] = set()
        self._standing = 1
        self.waiting: Counter[int] = Counter()  # by destination
        self._results = parts.metrics.application_answers_total

    def take_rules(self, rules: Mapping[int, list[ApplicationAck]]) -> None:
        """Listen for the answers to these outboxes too; what waits already keeps its place."""
        for number, wanted in rules.items():
            for rule in wanted:
                self._hear(rule.on, number)
                self._longest_us = max(self._longest_us, int(rule.within_seconds * 1e6))

    def _hear(self, on: str, number: int) -> None:
        if on:
            self._listening.setdefault(on, set()).add(number)
        else:
            self._same.add(number)

    def listens(self, listener: str) -> bool:
        """Return whether application acknowledgments come in at a listening connection."""
        return listener in self._listening

    # --- start and reload -----------------------------------------------------------------------

    async def recover(self) -> None:
        """Take up what waited when the engine stopped: no clock makes a wait longer than it was."""
        parts = self._parts
        now, now_us = parts.clock.monotonic(), parts.steady.now_us()
        for place, at_us, waiting in await parts.read(self._find):
            self._hear(waiting.on, int(place[1]))
            if waiting.at(Stage.REFUSING):
                self._refusing.add(place)
            for sent in waiting.at(Stage.WAITING):
                left = min(max(0, sent.due_us - now_us), max(0, sent.due_us - at_us))
                self._wait(place, sent, now + left / 1e6)

    def _find(self, reader: Reader) -> list[tuple[Key, int, Waiting]]:
        found = []
        after = b""
        while rows := reader.states(Space.APPLICATION, after, PAGE):
            after = rows[-1].key
            found += [one for row in rows if (one := self._opened(row)) is not None]
        return found

    def _opened(self, row: StateRow) -> tuple[Key, int, Waiting] | None:
        try:
            place, remembered = self._memories.open(row)
        except SealError:
            return None  # changed: nothing is believed of it
        if place[0] != "sent":
            return None
        return place, remembered.at_us, Waiting.read(remembered.value)

    def stand_still(self) -> None:
        """Write no dead letter until ``go``: outboxes begin anew."""
        self._standing += 1

    def go(self) -> None:
        """Go on; write the dead letters of what was refused meanwhile."""
        self._standing -= 1
        if self._standing:
            return
        batch = self._parts.group.batch
        refusing, self._refusing = self._refusing, set()
        for place in refusing:
            waiting = self._read(place)
            if waiting is not None:
                self._carry_out(batch, place, waiting)
                self._write(batch, place, waiting)
        self._parts.group.soon()

    # --- deliveries -----------------------------------------------------------------------------

    def expect(self, batch: Batch, rule: ApplicationAck, settled: Settled) -> None:
        """A receiver stored a delivery: wait for what it makes of it, in the same transaction."""
        if settled.code == SAYS_ALL:
            self._count(settled.destination, "accepted")  # the one answer says all
            return
        name = settled.control_id.decode("latin-1")
        place = ("sent", str(settled.outbox), name)
        within_us = int(rule.within_seconds * 1e6)
        sent = Sent(
            seq=settled.seq,
            inbox_id=settled.inbox_id,
            destination=settled.destination,
            rows=settled.attempts,
            due_us=self._parts.steady.now_us() + within_us,
        )
        waiting = self._read(place) or Waiting(rule.on)
        waiting.on = rule.on
        given_up = waiting.add(sent)
        if given_up is not None and given_up.stage is Stage.WAITING:
            self._end(batch, place, given_up, Stage.MISSING, "missing")
        self._hear(rule.on, settled.outbox)
        self._wait(place, sent, self._parts.clock.monotonic() + rule.within_seconds)
        self._take_early(batch, place, waiting, settled)
        self._write(batch, place, waiting)

    def _take_early(self, batch: Batch, place: Key, waiting: Waiting, settled: Settled) -> None:
        """Credit an answer that was ahead of its accept acknowledgment.

        One that is older than the message speaks of another with the same id. A yes must be newer
        than the delivery too: the dead letter that this one replays had its own answers.
        """
        where = self._early_place(waiting.on, settled.outbox, place[2])
        found = self._look_up(where)
        if found is None or found.message < settled.inbox_id:
            return
        early = Early.read(found.value)
        if early.digest in waiting.seen:
            return
        if not early.is_refusal and (len(waiting.open()) > 1 or found.at_us < settled.planned_us):
            return
        self._take(batch, place, waiting, early)
        self._memories.write(batch, [Change(Space.APPLICATION, where, None)])

    def _wait(self, place: Key, sent: Sent, due: float) -> None:
        self.waiting[sent.destination] += 1
        heapq.heappush(self._due, (due, place, sent.seq))

    def tick(self, now: float) -> None:
        """Count what has no answer in time; called about ten times a second."""
        batch = self._parts.group.batch
        for _ in range(MOST_A_TURN):
            if not self._due or self._due[0][0] > now:
                break
            _, place, seq = heapq.heappop(self._due)
            waiting = self._read(place)
            for sent in waiting.at(Stage.WAITING) if waiting is not None else ():
                if waiting is not None and sent.seq == seq:
                    self._end(batch, place, sent, Stage.MISSING, "missing")
                    self._write(batch, place, waiting)
                    self._parts.group.lazily()

    # --- answers --------------------------------------------------------------------------------

    def came_in(
        self, batch: Batch, listener: str, content: bytes, inbox_id: int, *, goes_on: bool
    ) -> Matched:
        """Match a message of any type that a listener stores with ``batch``."""
        numbers = sorted(self._listening.get(listener, ()))
        came = self._read_came(content) if numbers else None
        if came is None:
            return Matched(ACKNOWLEDGMENT, is_known=False)
        fit, reason = self._came(batch, listener, numbers, came, inbox_id)
        if fit is not Fit.TAKEN and not (goes_on and fit is Fit.UNKNOWN):
            self._count_ignored(listener, fit)
        return Matched(reason, is_known=fit is not Fit.UNKNOWN)

    def answer_due(self, listener: str, content: bytes, entry: NewInboxEntry) -> bytes | None:
        """Return the accept acknowledgment that a stored one asks for; None: it asks for none."""
        return self._accept(content, entry.inbox_id) if self.listens(listener) else None

    def came_back(self, outbox: Failing, content: bytes, reply: Callable[[bytes], None]) -> bool:
        """Store and match an acknowledgment on the connection that delivers.

        ``reply`` gets the accept acknowledgment it asks for once it is on stable storage. Returns
        whether answers come in there at all.
        """
        if outbox.number not in self._same:
            return False
        parts = self._parts
        batch = parts.group.batch
        inbox_id = parts.numbers.next_inbox_id()
        came, reason = self._read_came(content), ACKNOWLEDGMENT
        if came is not None:
            fit, reason = self._came(batch, "", [outbox.number], came, inbox_id)
            if fit is not Fit.TAKEN:
                self._count_ignored(outbox.name, fit)
        batch.inbox.append(
            NewInboxEntry(
                inbox_id,
                parts.steady.stamp(inbox_id),
                parts.names.number(NameKind.LISTENER, outbox.name),
                0,
                InboxKind.ACKNOWLEDGMENT,
                len(content),
                outbox.name,
                parts.ring.seal(BlobKind.INBOX, inbox_id, 0, content),
                reason,
            )
        )
        answer = self._accept(content, inbox_id)
        if answer is not None:
            batch.done.append(partial(reply, answer))
        parts.group.soon()
        return True

    def _accept(self, content: bytes, inbox_id: int) -> bytes | None:
        if not decides(content):
            return None  # an accept acknowledgment is never answered
        now_us = self._parts.clock.now_us()
        made = accepted(read_header(content), at_us=now_us, control_id=b"IFE%d" % inbox_id)
        return None if made is None else made.content

    def _read_came(self, content: bytes) -> Came | None:
        if b"MSA" not in content:
            return None  # no digest of what is none
        return read_application(content, self._parts.ring.digest(content).hex()[:24])

    def _came(
        self, batch: Batch, on: str, numbers: list[int], came: Came, inbox_id: int
    ) -> tuple[Fit, str]:
        """Credit an answer to what waits for it; what nothing waits for is kept for a while.

        Returns what it was, also as a reason, safe.
        """
        name, answer = came.control_id.decode("latin-1"), came.answer
        places = [("sent", str(number), name) for number in numbers]
        found = {place: w for place in places if (w := self._read(place)) is not None}
        fit, concerned = match(found, answer)
        if fit is not Fit.TAKEN:
            if fit is not Fit.AMBIGUOUS and not any(
                answer.digest in w.seen for w in found.values()
            ):
                self._keep_early(batch, on, numbers, name, answer, inbox_id)
            return fit, f"application acknowledgment, {fit}"
        for place, waiting in concerned.items():
            self._take(batch, place, waiting, answer)
            self._write(batch, place, waiting)
        return fit, f"application {answer.result} {answer.code}"

    def _take(self, batch: Batch, place: Key, waiting: Waiting, answer: Early) -> None:
        """Credit an answer to what waits in one place."""
        for sent in waiting.credit(answer):
            self._end(batch, place, sent, answer.stage, answer.result)
        self._carry_out(batch, place, waiting)

    def _end(self, batch: Batch, place: Key, sent: Sent, stage: Stage, result: str) -> None:
        """Write down beside the delivery what came of it."""
        if sent.stage is Stage.WAITING:
            self.waiting[sent.destination] -= 1
        sent.stage = stage
        sent.rows += 1
        outbox, detail = int(place[1]), b""
        if sent.detail:
            text = sent.detail.encode("utf-8", "surrogateescape")
            where = (outbox << 40) | sent.seq
            detail = self._parts.ring.seal(BlobKind.ATTEMPT, where, sent.rows, text)
        now_us = self._parts.clock.now_us()
        batch.attempts.append(
            AttemptRow(
                outbox, sent.seq, sent.rows, now_us, APPLICATION + result, sent.code, 0, detail
            )
        )
        self._count(sent.destination, result)

    def _carry_out(self, batch: Batch, place: Key, waiting: Waiting) -> None:
        """Make dead letters of what was refused; later, while the outboxes begin anew."""
        if not waiting.at(Stage.REFUSING):
            return
        outbox = self._outboxes.get(int(place[1]))
        if self._standing or outbox is None:
            self._refusing.add(place)
            return
        for sent in waiting.at(Stage.REFUSING):
            self._fail(batch, outbox, sent)
            sent.stage = Stage.REFUSED

    def _fail(self, batch: Batch, outbox: Failing, sent: Sent) -> None:
        found = self._memories.look(lambda reader: find_failed(reader, outbox.number, sent.seq))
        if found is None:  # retention was faster than the receiver
            what = self._parts.names.name(sent.destination)
            now_us = self._parts.clock.now_us()
            audit = (now_us, "engine", "application_refused", what, sent.inbox_id, "purged", b"")
            batch.audits.append(NewAudit(*audit))
            return
        outbox.fail_sent(batch, found, Refused(sent.code, sent.reason, sent.detail))

    # --- what nothing waits for -------------------------------------------------------------------

    @staticmethod
    def _early_place(on: str, outbox: int, name: str) -> Key:
        return ("early", on or f"{outbox}", "listen" if on else "same", name)

    def _keep_early(
        self, batch: Batch, on: str, numbers: list[int], name: str, answer: Early, inbox_id: int
    ) -> None:
        """Keep an answer that may be ahead of the accept acknowledgment. A yes replaces no no."""
        place = self._early_place(on, numbers[0], name)
        before = self._look_up(place)
        if before is None or answer.is_refusal or not Early.read(before.value).is_refusal:
            now_us = self._parts.steady.now_us()
            kept = Remembered(answer.text(), inbox_id, now_us, now_us + self._longest_us + DAY_US)
            self._memories.write(batch, [Change(Space.APPLICATION, place, kept)])

    def _count_ignored(self, name: str, fit: Fit) -> None:
        self._parts.metrics.answers_ignored_total.labels(name, f"application_{fit}").inc()

    # --- memory -----------------------------------------------------------------------------------

    def _look_up(self, place: Key) -> Remembered | None:
        try:
            return self._memories.look_up(Space.APPLICATION, place)
        except SealError:
            return None  # changed: nothing is believed of it

    def _read(self, place: Key) -> Waiting | None:
        found = self._look_up(place)
        return None if found is None else Waiting.read(found.value)

    def _write(self, batch: Batch, place: Key, waiting: Waiting) -> None:
        """Remember what waits; what has its answer is forgotten a while later."""
        now_us = self._parts.steady.now_us()
        until_us = 0
        if not waiting.at(Stage.WAITING) and not waiting.at(Stage.REFUSING):
            kept = KEPT_US if waiting.open() else self._longest_us + DAY_US
            until_us = now_us + kept
        message = waiting.deliveries[-1].inbox_id
        kept_row = Remembered(waiting.text(), message, now_us, until_us)
        self._memories.write(batch, [Change(Space.APPLICATION, place, kept_row)])

    def _count(self, destination: int, result: str) -> None:
        channel, _, name = self._parts.names.name(destination).partition(".")
        self._results.labels(channel, name, result).inc()
