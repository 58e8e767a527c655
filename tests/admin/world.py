"""A store with messages in every state, behind a runtime that does what the engine promises."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ifengine.admin.request import Caller, Role
from ifengine.admin.runtime import (
    ChannelStatus,
    DeadLetterRef,
    Listening,
    OutboxStatus,
    ReplayReport,
)
from ifengine.clock import ManualClock
from ifengine.hl7.path import parse_path
from ifengine.routes.config.models import (
    ChannelConfig,
    DestinationConfig,
    FilesTarget,
    ListenConnection,
    Order,
    SiteConfig,
)
from ifengine.routes.identity import Retired
from ifengine.routes.indexer import tags_of
from ifengine.routes.memory import Memories
from ifengine.routes.steady import Steady
from ifengine.store.base import (
    AttemptRow,
    Batch,
    CursorKind,
    ExceptionRow,
    ExceptionState,
    Fate,
    InboxKind,
    NameKind,
    NewAudit,
    NewInboxEntry,
    OutboxRow,
    OutcomeRow,
    PlannedFate,
    PlanRow,
    Reader,
)
from ifengine.store.keys import FileKek
from ifengine.store.memory import MemoryStore
from ifengine.store.names import Names
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.transforms.base import Steps
from ifengine.transforms.identity import PatientIdentity
from ifengine.transforms.memory import Call, Change, Reply
from ifengine.transforms.template import Template

T = TypeVar("T")

SECOND = 1_000_000
START_US = 1_767_607_200 * SECOND
CANARY = "CANARY4711"
READER = Caller("tester", frozenset(Role))
OPERATOR = Caller("operator", frozenset({Role.OPERATOR}))


def adt(control_id: str, event: str = "A01", patient: str = "700123") -> bytes:
    """Return a message with the canary in every field that is not an id or a type."""
    c = CANARY
    return (
        f"MSH|^~\\&|{c}|{c}|{c}|{c}|20260105||ADT^{event}|{control_id}|P|2.5\r"
        f"EVN|{event}|{c}|{c}\r"
        f"PID|1|{c}|{patient}^^^{c}^MR~{c}^^^{c}^SS||{c}^{c}||{c}|{c}\r"
        f"ZPI|{c}|{c}\r"
        f"{c} a line that is no segment\r"
    ).encode()


@dataclass
class World:
    """Satisfies ``admin.runtime.Runtime`` over a MemoryStore."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: ManualClock = field(default_factory=ManualClock)
    config_version: int = 3
    started_us: int = START_US
    metrics: bytes = b"ifengine_up 1\n"
    found_problems: Sequence[tuple[str, str, str]] = (("ok", "configuration", "version 3"),)
    paused: dict[str, str] = field(default_factory=dict)
    replays: list[dict[str, Any]] = field(default_factory=list)
    discards: list[Sequence[DeadLetterRef]] = field(default_factory=list)
    report: Callable[[Sequence[DeadLetterRef]], ReplayReport] | None = None
    outboxes: tuple[OutboxStatus, ...] = ()
    let_gone: list[tuple[tuple[int, ...], bool]] = field(default_factory=list)
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))  # reads

    def __post_init__(self) -> None:
        kek = FileKek.init_file(self.folder / "keys" / "kek")
        self.ring = KeyRing(self.store.store_id, (), kek)
        self.store.protect_audit(self.ring.audit_mac)
        self.memories = Memories(self.ring, self.store.reader())
        identity = PatientIdentity(path=parse_path("PID-3"), type="MR", authority=("MERCY",))
        self.retired = Retired(self.memories, identity)
        batch = Batch()
        batch.data_keys += self.ring.start_keys(1, START_US)
        self.names = Names(())
        self.listener = self.names.add(NameKind.LISTENER, "adt-in", batch)
        self.channel = self.names.add(NameKind.CHANNEL, "adt", batch)
        self.outbox = self.names.add(NameKind.OUTBOX, "lis", batch)
        self.lab = self.names.add(NameKind.DESTINATION, "adt.lab", batch)
        self.pharmacy = self.names.add(NameKind.DESTINATION, "adt.pharmacy", batch)
        self.archive = self.names.add(NameKind.DESTINATION, "adt.archive", batch)
        self.seq = 0
        self.steady = Steady(self.clock)
        self.write(batch)
        self.site = _site(self.folder)

    # --- Runtime ------------------------------------------------------------------------------

    async def call(self, call: Call) -> Reply:
        return Reply(None, "there are no workers here")

    async def read(self, look: Callable[[Reader], T]) -> T:
        reader = self.store.reader()
        try:
            return await asyncio.get_running_loop().run_in_executor(self.thread, look, reader)
        finally:
            reader.close()

    async def commit(self, fill: Callable[[Batch], None]) -> None:
        batch = Batch()
        fill(batch)
        self.write(batch)

    async def remember(self, changes: Sequence[Change], fill: Callable[[Batch], None]) -> None:
        batch = Batch()
        self.memories.write(batch, changes)
        fill(batch)
        self.write(batch)
        for done in batch.done:
            done()
        self.retired.changed(changes)

    def channels(self) -> Sequence[ChannelStatus]:
        return [
            ChannelStatus(
                name="adt",
                state="paused" if "adt" in self.paused else "running",
                note=self.paused.get("adt", ""),
                last_received_us=START_US,
                received_last_hour=5,
                unplanned=1,
                outboxes=self.outboxes,
                parked=2,
                parked_since_us=START_US,
            )
        ]

    def listening(self) -> Sequence[Listening]:
        return [
            Listening(
                name="adt-in", host="127.0.0.1", port=2575, tls=False, connections=2, paused=False
            )
        ]

    async def pause_channel(self, name: str, *, actor: str, reason: str) -> None:
        self.paused[name] = f"paused by {actor}"

    async def resume_channel(self, name: str, *, actor: str) -> None:
        self.paused.pop(name, None)

    async def replay(
        self,
        letters: Sequence[DeadLetterRef],
        *,
        how: str,
        allow_older: bool,
        dry_run: bool,
        actor: str,
        reason: str,
        sender_was_refused: bool,
    ) -> ReplayReport:
        self.replays.append(
            {
                "letters": tuple(letters),
                "how": how,
                "allow_older": allow_older,
                "dry_run": dry_run,
                "actor": actor,
                "reason": reason,
                **({"sender_was_refused": True} if sender_was_refused else {}),
            }
        )
        return self.report(letters) if self.report else report(going=letters)

    async def discard(
        self, letters: Sequence[DeadLetterRef], *, actor: str, reason: str
    ) -> Sequence[DeadLetterRef]:
        self.discards.append(letters)
        done = []
        reader = self.store.reader()
        batch = Batch()
        for letter in letters:
            row = reader.exception(letter.outbox, letter.seq)
            if row is not None:
                done.append(letter)
                batch.exceptions.append((letter.outbox, letter.seq))
                batch.outcomes.append(
                    OutcomeRow(
                        letter.outbox, letter.seq, Fate.DISCARDED, row.code, row.refusals,
                        self.clock.now_us(), 0, row.possible_duplicate, 0, row.reason,
                    )
                )  # fmt: skip
        self.write(batch)
        return done

    def let_go(self, inbox_ids: Sequence[int], *, expire: bool) -> Sequence[int]:
        self.let_gone.append((tuple(inbox_ids), expire))
        return inbox_ids

    def metrics_text(self) -> bytes:
        return self.metrics

    def live(self) -> bool:
        return True

    def ready(self) -> tuple[bool, str]:
        return True, ""

    def problems(self) -> Sequence[tuple[str, str, str]]:
        return self.found_problems

    # --- filling ------------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        errors: list[BaseException | None] = []
        self.store.submit(batch, errors.append)
        assert errors == [None]

    def receive(
        self,
        inbox_id: int,
        content: bytes,
        *,
        kind: InboxKind = InboxKind.MESSAGE,
        reason: str = "",
        origin: int = 0,
        indexed: bool = False,
        channel: int | None = None,
    ) -> None:
        batch = Batch()
        sealed = self.ring.seal(BlobKind.INBOX, inbox_id, 0, content) if content else b""
        routed = kind in (InboxKind.MESSAGE, InboxKind.DUPLICATE)
        batch.inbox.append(
            NewInboxEntry(
                inbox_id,
                START_US + inbox_id * SECOND,
                self.listener,
                (self.channel if routed else 0) if channel is None else channel,
                kind,
                len(content),
                "10.0.0.7:4711",
                sealed,
                reason,
                origin=origin,
            )
        )
        if indexed:
            batch.tags += [(tag, inbox_id) for tag in tags_of(self.ring, content)]
            batch.cursors[CursorKind.INDEXER, 0] = inbox_id
        self.write(batch)

    def plan(self, inbox_id: int, *fates: PlannedFate, run: int = 0) -> None:
        batch = Batch()
        at_us = START_US + inbox_id * SECOND + 2000 + run
        batch.plans.append(PlanRow(inbox_id, run, self.channel, self.config_version, at_us, fates))
        self.write(batch)

    def plan_to(self, inbox_id: int) -> None:
        """Move the channel's cursor."""
        self.write(Batch(cursors={(CursorKind.CHANNEL, self.channel): inbox_id}))

    def queue(
        self,
        inbox_id: int,
        destination: int | None = None,
        *,
        run: int = 0,
        keys: bytes = b"",
        ordered: bool = False,
        copy: bytes | None = None,
        origin_seq: int = 0,
        place: int = 0,
    ) -> PlannedFate:
        """Add an outbox row; the plan entry is returned."""
        self.seq += 1
        destination = self.lab if destination is None else destination
        batch = Batch()
        copy_id = 0
        if copy is not None:
            copy_id = self.seq
            batch.copies.append((copy_id, self.ring.seal(BlobKind.COPY, copy_id, 0, copy)))
        batch.outbox.append(
            OutboxRow(
                self.outbox, self.seq, place or self.seq, inbox_id, run, self.channel, destination,
                copy_id, ordered, keys, START_US, origin_seq, self.config_version,
            )
        )  # fmt: skip
        self.write(batch)
        return PlannedFate(destination, Fate.QUEUED, self.outbox, self.seq, "")

    def sent(self, seq: int, *, superseded_by: int = 0, fate: Fate = Fate.SENT) -> None:
        batch = Batch()
        batch.outcomes.append(
            OutcomeRow(
                self.outbox, seq, fate, "AA", 1, START_US + 5 * SECOND, 3000, False,
                superseded_by, "",
            )
        )  # fmt: skip
        self.write(batch)

    def write_outcome_superseded(self, seq: int, by: int) -> None:
        """Settle a dead letter as replayed."""
        batch = Batch()
        batch.exceptions.append((self.outbox, seq))
        batch.outcomes.append(
            OutcomeRow(
                self.outbox, seq, Fate.DEAD_LETTER, "AR", 1, START_US + 20 * SECOND, 0, False, by, "",
            )
        )  # fmt: skip
        self.write(batch)

    def stuck(
        self,
        seq: int,
        state: ExceptionState = ExceptionState.DEAD_LETTER,
        *,
        reason: str = "answered AR",
        since: int = 10,
        detail: str = CANARY,
    ) -> None:
        batch = Batch()
        sealed = self.ring.seal(BlobKind.DETAIL, self.outbox, seq, detail.encode())
        place = (self.outbox << 40) | seq
        batch.exceptions.append(
            ExceptionRow(
                self.outbox, seq, state, 2, 1, 0, START_US + since * SECOND, "delivery", "", reason,
                "AR", sealed, self.config_version, True,
            )
        )  # fmt: skip
        batch.attempts.append(
            AttemptRow(
                self.outbox, seq, 1, START_US + since * SECOND, "ar", "AR", 2_500,
                self.ring.seal(BlobKind.ATTEMPT, place, 1, detail.encode()),
            )
        )  # fmt: skip
        self.write(batch)

    def dead(self, inbox_id: int, content: bytes | None = None, **fields: Any) -> int:
        """Add a message that is a dead letter at lab; returns its seq."""
        self.receive(inbox_id, adt(f"C{inbox_id}") if content is None else content)
        planned = self.queue(inbox_id)
        self.plan(inbox_id, planned)
        self.stuck(planned.seq, **fields)
        return planned.seq

    def audits(self) -> list[Any]:
        return list(self.store.reader().audit_after(0, 1000))

    def audit(self, *acts: NewAudit) -> None:
        batch = Batch()
        batch.audits += acts
        self.write(batch)


def report(**found: Iterable[DeadLetterRef]) -> ReplayReport:
    """Return a report; what is not named is empty."""
    names = ("going", "older", "unordered", "gone", "filtered", "failed_again")
    return ReplayReport(**{name: tuple(found.get(name, ())) for name in names})


def _site(folder: Path) -> SiteConfig:
    steps = Steps()

    def destination(name: str, order: Order = Order.HOLD_KEY, **more: Any) -> DestinationConfig:
        return DestinationConfig(name=name, line=1, steps=steps, order=order, **more)

    files = FilesTarget(directory=folder, name=Template("out", ("out",)))
    channel = ChannelConfig(
        name="adt",
        file="channels/adt.yaml",
        sources=("adt-in",),
        steps=steps,
        destinations=(
            destination("lab", connection="lis"),
            destination("pharmacy", Order.SKIP_DEAD, connection="lis"),
            destination("archive", files=files),
        ),
    )
    listener = ListenConnection(
        name="adt-in", host="127.0.0.1", port=2575, tls=None, plaintext="a test"
    )
    return SiteConfig(
        directory=folder,
        site="mercy",
        admin_socket=folder / "admin.sock",
        store_path=folder,
        reserve_bytes=1,
        kek=f"file:{folder}/keys/kek",
        listeners={"adt-in": listener},
        channels=(channel,),
    )
