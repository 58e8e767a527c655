"""A channel's decision as rows of one batch."""

from pathlib import Path

import pytest

from engine.support import adt
from ifengine.routes.channel import PlannedDelivery
from ifengine.routes.lanes import EntryState
from ifengine.routes.planning import Planned, PlanWriter, Target
from ifengine.store.base import Batch, ExceptionRow, ExceptionState, Fate
from ifengine.store.sealing import BlobKind
from ifengine.transforms.base import Reason
from routes.works import Works

KEY = b"8 bytes."


@pytest.fixture
async def works(tmp_path: Path) -> Works:
    return Works(tmp_path)


@pytest.fixture
async def writer(works: Works) -> PlanWriter:
    targets = {
        "lab": Target(works.outbox(1), 11, is_files=False),
        "ward": Target(works.outbox(2), 12, is_files=False),
        "disk": Target(works.outbox(3), 13, is_files=True),
    }
    return PlanWriter(works.parts, "adt", 9, targets)


def planned(*deliveries: PlannedDelivery, number: int = 1, **fields: object) -> Planned:
    values: dict[str, object] = {
        "inbox_id": number,
        "received_us": 77,
        "content": adt(f"M{number}"),
        "plan": deliveries,
        "keys": (KEY,),
    }
    return Planned(**(values | fields))  # type: ignore[arg-type]


def queued(name: str, content: bytes | None = None, file_name: str = "") -> PlannedDelivery:
    return PlannedDelivery(name, Fate.QUEUED, content=content, file_name=file_name)


async def test_untouched_bytes_are_stored_once(writer: PlanWriter) -> None:
    batch = Batch()
    fed = writer.write(batch, planned(queued("lab"), queued("ward")))
    assert batch.copies == []
    assert [(row.outbox, row.seq, row.copy_id) for row in batch.outbox] == [(1, 1, 0), (2, 1, 0)]
    assert [entry.content for _, entry, _ in fed] == [adt("M1"), adt("M1")]
    (plan,) = batch.plans
    assert [(f.destination, f.fate, f.outbox, f.seq) for f in plan.fates] == [
        (11, Fate.QUEUED, 1, 1),
        (12, Fate.QUEUED, 2, 1),
    ]
    assert (plan.inbox_id, plan.run, plan.channel, plan.config_version) == (1, 0, 9, 3)


async def test_changed_bytes_are_sealed_as_a_copy_of_their_own(
    works: Works, writer: PlanWriter
) -> None:
    batch = Batch()
    ((_, entry, _),) = writer.write(batch, planned(queued("lab", b"MSH|changed CANARY")))
    ((copy_id, sealed),) = batch.copies
    assert batch.outbox[0].copy_id == copy_id > 0
    assert b"CANARY" not in sealed
    assert works.parts.ring.open(BlobKind.COPY, copy_id, 0, sealed) == b"MSH|changed CANARY"
    assert entry.content == b"MSH|changed CANARY"


async def test_a_file_always_has_a_copy_with_its_name(works: Works, writer: PlanWriter) -> None:
    batch = Batch()
    ((_, entry, _),) = writer.write(batch, planned(queued("disk", file_name="1.hl7")))
    ((copy_id, sealed),) = batch.copies
    stored = works.parts.ring.open(BlobKind.COPY, copy_id, 0, sealed)
    assert stored == b"1.hl7\0" + adt("M1")
    assert entry.content is None  # read back with its name


async def test_a_failed_delivery_has_its_place_in_the_queue_and_its_values_sealed(
    works: Works, writer: PlanWriter
) -> None:
    batch = Batch()
    failed = PlannedDelivery(
        "lab",
        Fate.DEAD_LETTER,
        reason=Reason("ward has no entry", 'ward has no entry for "CANARY"'),
        step="lookup 3",
    )
    ((_, entry, state),) = writer.write(batch, planned(failed))
    assert state is EntryState.DEAD
    assert entry.content is None
    assert (batch.outbox[0].seq, batch.outbox[0].keys) == (1, KEY)
    (row,) = batch.exceptions
    assert isinstance(row, ExceptionRow)
    assert (row.state, row.stage, row.step) == (ExceptionState.DEAD_LETTER, "steps", "lookup 3")
    assert row.reason == "ward has no entry"
    detail = row.detail
    assert b"CANARY" not in detail
    opened = works.parts.ring.open(BlobKind.DETAIL, 1, 1, detail)
    assert opened == b'ward has no entry for "CANARY"'


@pytest.mark.parametrize("fate", [Fate.FILTERED, Fate.DROPPED])
async def test_what_goes_nowhere_stands_in_the_plan_alone(writer: PlanWriter, fate: Fate) -> None:
    batch = Batch()
    rule = Reason("lab accept, adt.yaml:7", "")
    fed = writer.write(batch, planned(PlannedDelivery("lab", fate, reason=rule)))
    assert fed == []
    assert batch.outbox == []
    (written,) = batch.plans[0].fates
    assert (written.fate, written.outbox, written.seq) == (fate, 0, 0)
    assert written.reason == "lab accept, adt.yaml:7"


async def test_a_held_message_is_held_at_every_destination(writer: PlanWriter) -> None:
    batch = Batch()
    fed = writer.write(batch, planned(queued("lab"), queued("ward"), held="archive"))
    assert {state for _, _, state in fed} == {EntryState.HELD}
    assert [(r.state, r.stage, r.reason) for r in batch.exceptions] == [  # type: ignore[union-attr]
        (ExceptionState.HELD, "intake", "archive")
    ] * 2


@pytest.mark.parametrize(
    ("keys", "ordered", "stored"),
    [
        (None, False, b""),
        ((), True, b""),
        ((KEY,), True, KEY),
        ((KEY, KEY[::-1]), True, KEY + KEY[::-1]),
    ],
)
async def test_no_order_no_key_and_several_keys_are_told_apart(
    writer: PlanWriter, keys: tuple[bytes, ...] | None, ordered: bool, stored: bytes
) -> None:
    batch = Batch()
    ((_, entry, _),) = writer.write(batch, planned(queued("lab"), keys=keys))
    assert (batch.outbox[0].ordered, batch.outbox[0].keys) == (ordered, stored)
    assert entry.keys == keys


async def test_two_channels_into_one_outbox_share_its_numbers_in_the_order_of_their_plans(
    works: Works,
) -> None:
    outbox = works.outbox(1)
    one = PlanWriter(works.parts, "adt", 8, {"lab": Target(outbox, 11, is_files=False)})
    two = PlanWriter(works.parts, "oru", 9, {"lab": Target(outbox, 12, is_files=False)})
    batch = Batch()
    for number, writer in enumerate((one, two, two, one), 1):
        writer.write(batch, planned(queued("lab"), number=number))
    assert [(row.seq, row.inbox_id, row.channel) for row in batch.outbox] == [
        (1, 1, 8),
        (2, 2, 9),
        (3, 3, 9),
        (4, 4, 8),
    ]


async def test_a_replay_keeps_its_place_and_names_what_it_repeats(writer: PlanWriter) -> None:
    batch = Batch()
    for number in (1, 2):
        writer.write(batch, planned(queued("lab"), number=number))
    again = planned(queued("lab"), number=1, run=1)
    entry, _ = writer.queue(batch, again, queued("lab"), 99, place=1, origin_seq=1)
    row = batch.outbox[-1]
    assert (row.seq, row.place, row.origin_seq, row.run) == (3, 1, 1, 1)
    assert (entry.seq, entry.place) == (3, 1)


async def test_keys_are_hashed_before_the_store_sees_them(writer: PlanWriter) -> None:
    assert writer.hashed(None) is None
    assert writer.hashed(()) == ()
    hashed = writer.hashed(("RIVER|CANARY", "RIVER|2"))
    assert hashed is not None
    assert hashed == writer.hashed(("RIVER|2", "RIVER|CANARY"))
    assert [len(key) for key in hashed] == [8, 8]
    assert b"CANARY" not in b"".join(hashed)


async def test_a_plan_does_not_show_content() -> None:
    assert "CANARY" not in repr(planned(queued("lab"), content=b"CANARY"))
