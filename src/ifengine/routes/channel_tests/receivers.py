"""Fake destinations: a queue with the engine's own order and retries, and answers from the test.

Pure. Time is handed in; what may go now goes at once.
"""

import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ifengine.hl7.ack import read_ack
from ifengine.hl7.header import read_header
from ifengine.routes.channel_tests.later_answers import (
    MISSING,
    LaterAnswers,
    Said,
    acknowledgment,
)
from ifengine.routes.config.cases import Answer, as_it_travels
from ifengine.routes.config.models import DestinationConfig, Order
from ifengine.routes.lanes import Entry, EntryState, Schedule
from ifengine.routes.retry import Action, Attempt, AttemptResult, Decision, Policy, decide
from ifengine.routes.retry import delay_seconds as delay_of

DEFAULT_ANSWER = "AA"
_ACCEPTED = ("AA", "CA")
_REFUSED = ("AE", "AR", "CE", "CR")
_NOT_SAID = Answer()


@dataclass(slots=True)
class Delivery:
    """One message on its way to one destination, and how far it got."""

    message: int
    destination: str
    part: int
    received_us: int
    content: bytes = field(repr=False)
    file_name: str = field(default="", repr=False)
    state: str = "queued"
    reason: str = field(default="", repr=False)
    step: str = ""
    answer: str = ""  # MSA-1 of the last answer; "" where none came
    answer_text: str = field(default="", repr=False)
    answered: bytes = field(default=b"", repr=False)  # the last answer as it came
    sender_waits: bool = False  # one attempt decides, and nothing is tried again
    application: str = ""  # where its application acknowledgment stands; "": none is waited for


def _middle() -> float:
    return 0.5  # no jitter: every run of a test is the same


class Receivers:
    """The receivers of one queue: a connection's destinations, or one destination without."""

    def __init__(self, first: DestinationConfig, *, ordered: bool) -> None:
        self._schedule = Schedule(
            order=first.order, ordered=ordered, lanes=first.lanes, strict_settle=True
        )
        self._schedule.window = 1_000_000  # nothing here is ever on its way to a disk
        self._holds = first.order is not Order.NONE
        self._destinations: dict[str, DestinationConfig] = {}
        self._policies: dict[str, Policy] = {}
        self._failures: dict[str, int] = {}  # in a row
        self._deliveries: dict[int, Delivery] = {}  # by the seq of its entry
        self._entries: dict[int, Entry] = {}  # those whose receiver may say no later
        self._later = LaterAnswers()
        self._stored_now: set[int] = set()  # seqs, since the step began
        self._retries: list[tuple[int, int, Entry]] = []
        self._seq = 0
        self._stopped = False
        self._missed = 0  # attempts in a row that found nobody
        self._not_before_us = 0

    def add_destination(self, config: DestinationConfig) -> None:
        """Let a destination of the channel feed this queue."""
        self._destinations[config.name] = config
        self._failures[config.name] = 0
        self._policies[config.name] = Policy(
            config.retry, config.on_nak, config.on_in_doubt, config.duplicate_answer
        )

    def put(self, delivery: Delivery, keys: tuple[str, ...] | None, state: EntryState) -> None:
        """Queue a delivery; HELD and DEAD ones only hold what comes after them."""
        entry = self._entry(delivery, keys)
        self._schedule.add(entry, state)

    def _entry(self, delivery: Delivery, keys: tuple[str, ...] | None) -> Entry:
        self._seq += 1
        entry = Entry(
            seq=self._seq,
            place=self._seq,
            inbox_id=delivery.message,
            run=0,
            channel=0,
            destination=0,
            copy_id=0,
            keys=None if keys is None else tuple(key.encode() for key in keys),
            at_us=delivery.received_us,
            received_us=delivery.received_us,
            config_version=0,
        )
        self._deliveries[entry.seq] = delivery
        return entry

    def next_us(self) -> int:
        """Return when something is to be tried again; 0: nothing is."""
        due = [due for due, _, _ in self._retries[:1]]
        if self._not_before_us:
            due.append(self._not_before_us)
        return min(filter(None, [*due, self._later.next_us()]), default=0)

    def run(
        self, now_us: int, answers: Mapping[str, Answer], ended: Callable[[Delivery], None]
    ) -> None:
        """Try what may go now; ``ended`` is told of each delivery about which more is known."""
        for seq in self._later.missing(now_us):
            self._deliveries[seq].application = MISSING
            ended(self._deliveries[seq])
        while self._retries and self._retries[0][0] <= now_us:
            self._schedule.wake(heapq.heappop(self._retries)[2])
        if now_us < self._not_before_us or self._stopped:
            return
        self._not_before_us = 0
        while not self._stopped and not self._not_before_us:
            entry = self._schedule.take()
            if entry is None:
                return
            delivery = self._deliveries[entry.seq]
            answer = answers.get(delivery.destination, _NOT_SAID).first or DEFAULT_ANSWER
            self._try(entry, delivery, now_us, answer)
            self._schedule.undurable = 0
            self._schedule.durable_low = self._schedule.low()
            ended(delivery)

    # --- application acknowledgments ------------------------------------------------------------

    def begin_step(self) -> None:
        """A step of a test begins: what is stored from now on is stored in it."""
        self._stored_now.clear()

    def answer_later(
        self,
        answers: Mapping[str, Answer],
        *,
        all_that_wait: bool,
        ended: Callable[[Delivery], None],
    ) -> None:
        """Let the receivers say what became of what they stored, in this step or ever."""
        only: Collection[int] | None = None if all_that_wait else self._stored_now
        for name, answer in answers.items():
            if name not in self._destinations or not answer.application:
                continue
            for seq, said in self._later.came(Said(name, answer.application), only):
                delivery = self._deliveries[seq]
                delivery.application = said.result
                if said.is_refusal:
                    delivery.state = "dead_letter"
                    delivery.reason = _with_words(said.reason, said.detail)
                    self._fail_again(self._entries[seq], delivery)
                ended(delivery)

    def _fail_again(self, sent: Entry, delivery: Delivery) -> None:
        """Put the dead letter in the place of what was sent, as the outbox does."""
        keys = None if sent.keys is None else tuple(key.decode() for key in sent.keys)
        again = self._entry(delivery, keys)
        again.place = sent.place
        self._schedule.fail_again(again)

    def _expect(self, entry: Entry, delivery: Delivery, attempt: Attempt, now_us: int) -> None:
        rule = self._destinations[delivery.destination].application
        if rule is None or not attempt.control_id:
            return
        self._entries[entry.seq] = entry
        self._stored_now.add(entry.seq)
        delivery.application, given_up = self._later.expect(
            rule, entry.seq, delivery.destination, attempt.control_id, attempt.code, now_us
        )
        if given_up:
            self._deliveries[given_up].application = MISSING

    def _try(self, entry: Entry, delivery: Delivery, now_us: int, answer: str) -> None:
        config = self._destinations[delivery.destination]
        attempt = _attempt(config, delivery, answer)
        policy = self._policies[delivery.destination]
        decision = decide(
            attempt,
            policy,
            refusals=entry.refusals,
            doubts=entry.doubts,
            possible_duplicate=entry.possible_duplicate,
            dice=_middle,
        )
        entry.refusals, entry.doubts = decision.refusals, decision.doubts
        self._count_failures(config, attempt, decision)
        delivery.reason = _with_words(decision.reason, delivery.answer_text)
        if attempt.result is not AttemptResult.UNREACHABLE:
            self._missed = 0
        if delivery.sender_waits and decision.action is not Action.SETTLE:
            # the sender is told, and keeps the responsibility (safety-rules.md 1)
            doubtful = attempt.result is AttemptResult.IN_DOUBT
            delivery.state = "in_doubt" if doubtful else "rejected"
            self._schedule.settle(entry)
            return
        self._apply(entry, delivery, config, attempt, decision, now_us)

    def _count_failures(
        self, config: DestinationConfig, attempt: Attempt, decision: Decision
    ) -> None:
        if decision.action is Action.SETTLE:
            self._failures[config.name] = 0
        elif attempt.result in (AttemptResult.REFUSED, AttemptResult.IN_DOUBT):
            self._failures[config.name] += 1
            limit = config.stop_after
            self._stopped |= limit is not None and self._failures[config.name] >= limit

    def _apply(
        self,
        entry: Entry,
        delivery: Delivery,
        config: DestinationConfig,
        attempt: Attempt,
        decision: Decision,
        now_us: int,
    ) -> None:
        schedule = self._schedule
        entry.possible_duplicate |= attempt.result is AttemptResult.IN_DOUBT
        match decision.action:
            case Action.SETTLE:
                delivery.state, delivery.reason = "sent", ""
                schedule.settle(entry)
                self._expect(entry, delivery, attempt, now_us)
            case Action.WAIT:
                limit = config.retry.unreachable_seconds
                if limit is not None and now_us - entry.at_us >= limit * 1e6:
                    delivery.state, delivery.reason = "dead_letter", "unreachable too long"
                    schedule.die(entry)
                    return
                self._missed += 1
                wait = delay_of(config.retry, self._missed, _middle)
                self._not_before_us = now_us + round(wait * 1e6)
                delivery.state = "queued"
                schedule.give_back(entry)
            case Action.DEAD_LETTER:
                delivery.state = "dead_letter"
                schedule.die(entry)
            case Action.HOLD:
                delivery.state = "held"
                schedule.defer(entry, EntryState.HELD, 0.0)
            case _:
                doubtful = attempt.result is AttemptResult.IN_DOUBT
                memory = EntryState.IN_DOUBT if doubtful else EntryState.RETRYING
                delivery.state = memory.name.lower()
                due_us = now_us + round(decision.delay_seconds * 1e6)
                schedule.defer(entry, memory, due_us / 1e6)
                heapq.heappush(self._retries, (due_us, entry.seq, entry))
                self._stopped |= decision.action is Action.STOP


def _with_words(reason: str, words: str) -> str:
    return f"{reason}: {words}" if reason and words else reason


def _attempt(config: DestinationConfig, delivery: Delivery, answer: str) -> Attempt:
    """Return how the answer of a test ends an attempt, as the endpoint would report it."""
    delivery.answer = delivery.answer_text = ""
    delivery.answered = b""
    if config.connection is None:
        return Attempt(AttemptResult.ACCEPTED, "file")
    header = read_header(delivery.content)
    if not header.control_id:
        return Attempt(AttemptResult.UNSENDABLE, "no control id (MSH-10)")
    if answer == "refused":
        return Attempt(AttemptResult.UNREACHABLE, "refused")
    if header.silent:
        return Attempt(AttemptResult.ACCEPTED, "none")  # the message forbids an answer
    if answer in ("timeout", "garbage"):
        return Attempt(AttemptResult.IN_DOUBT, answer)
    if answer in (*_ACCEPTED, *_REFUSED):
        written = acknowledgment(answer, header.control_id, header.version or b"2.5.1")
    else:
        written = as_it_travels(answer)
    return _read(delivery, written, header.control_id)


def _read(delivery: Delivery, content: bytes, control_id: bytes) -> Attempt:
    found = read_ack(content)
    if found.control_id not in (b"", control_id):
        return Attempt(AttemptResult.IN_DOUBT, "foreign")
    delivery.answered = content
    if not found.is_ack or not found.code:
        return Attempt(AttemptResult.IN_DOUBT, "unknown code" if found.is_ack else "garbage")
    delivery.answer, delivery.answer_text = found.code, found.text
    label = found.code.lower()
    if found.code in _ACCEPTED:
        return Attempt(AttemptResult.ACCEPTED, label, found.code, control_id=control_id)
    detail = found.text.encode("utf-8", "surrogateescape")
    return Attempt(AttemptResult.REFUSED, label, found.code, found.error_codes, detail)
