import random
from collections import Counter
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns import Ledger, seed, trials
from ifengine.store import audit
from ifengine.store.audit import EMPTY, AuditReport, Head, canonical, link, verify, verify_log
from ifengine.store.base import AuditRow, Batch, NewAudit
from ifengine.store.memory import MemoryStore
from ifengine.store.sealing import KeyRing
from ifengine.store.sqlite import SqliteStore
from ifengine.store.sqlite_schema import open_writer
from store.builders import act, commit, entry
from store.test_sealing import FixedKek

RECORDS = st.builds(
    NewAudit,
    st.integers(-(2**60), 2**60),
    st.text(max_size=6),
    st.text(max_size=6),
    st.text(max_size=6),
    st.integers(0, 2**60),
    st.text(max_size=6),
    st.binary(max_size=6),
)


def chain(records: list[NewAudit], head: Head = EMPTY) -> list[AuditRow]:
    rows = []
    for record in records:
        rows.append(link(head, record))
        head = Head(rows[-1].seq, rows[-1].digest)
    return rows


@given(RECORDS, RECORDS, st.integers(1, 9), st.integers(1, 9))
def test_two_records_have_one_form_only_when_they_are_equal(
    a: NewAudit, b: NewAudit, seq_a: int, seq_b: int
) -> None:
    assert (canonical(seq_a, a) == canonical(seq_b, b)) == ((seq_a, a) == (seq_b, b))


def test_text_that_moves_between_columns_changes_the_form() -> None:
    record = act(1)
    moved = record._replace(actor="anna viewed", action="")
    also = record._replace(actor="anna", action=" viewed")
    assert len({canonical(1, r) for r in (record, moved, also)}) == 3


def test_the_first_link_has_its_known_digest() -> None:
    row = link(EMPTY, NewAudit(5, "engine", "started", "ifengine", 0, "ok", b""))
    assert row.previous == bytes(32)
    assert row.digest.hex() == "1879e6ab95a17a701181eebe22a7811229704e0269500d8e6164f5427a5f5d74"


@given(st.lists(RECORDS, max_size=8), st.integers(0, 7))
def test_an_untouched_chain_verifies_from_any_link(records: list[NewAudit], start: int) -> None:
    rows = chain(records)
    assert verify(rows) is None
    head = Head(rows[start - 1].seq, rows[start - 1].digest) if 0 < start <= len(rows) else EMPTY
    assert verify(rows[head.seq :], head) is None


@given(st.lists(RECORDS, min_size=2, max_size=8), st.data())
def test_the_first_changed_or_missing_link_is_named(
    records: list[NewAudit], data: st.DataObject
) -> None:
    rows = chain(records)
    at = data.draw(st.integers(0, len(rows) - 2))
    assert verify(rows[:at] + rows[at + 1 :]) == at + 1
    changed = rows[at]._replace(actor=rows[at].actor + "x")
    assert verify([*rows[:at], changed, *rows[at + 1 :]]) == at + 1
    # somebody who repairs the digest of the changed record breaks the next link
    repaired = link(Head(at, rows[at].previous), NewAudit(*changed[1:8]))
    assert verify([*rows[:at], repaired, *rows[at + 1 :]]) == at + 2


RING = KeyRing(bytes(16), [], FixedKek())
RING.start_keys(1, 0)
TAMPERINGS = trials(1000, 10_000, "IFENGINE_TAMPERINGS")
ROWS = 40


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a store with audit records, closed."""
    folder = tmp_path_factory.mktemp("audit") / "store"
    store = SqliteStore(folder)
    store.protect_audit(RING.audit_mac)
    for i in range(1, ROWS + 1):
        commit(store, Batch(audits=[act(i, inbox_id=i % 3)]))
    store.close()
    return (folder / "store.db").read_bytes()


def tamper(connection: apsw.Connection, rnd: random.Random) -> str:
    """Change the log as somebody with the file, and without the keys, may."""
    run = connection.execute
    seq = rnd.randint(1, ROWS)
    what = rnd.choice(["number", "text", "bytes", "remove", "tail", "add", "swap", "rebuild"])
    if what == "number":
        column = rnd.choice(["at_us", "inbox_id"])
        run(f"UPDATE audit SET {column} = {column} + ? WHERE seq = ?", (rnd.randint(1, 9**9), seq))
    elif what == "text":
        column = rnd.choice(["actor", "action", "object", "outcome"])
        run(f"UPDATE audit SET {column} = {column} || 'x' WHERE seq = ?", (seq,))
    elif what == "bytes":
        column = rnd.choice(["detail", "previous", "digest"])
        run(f"UPDATE audit SET {column} = ? WHERE seq = ?", (rnd.randbytes(32), seq))
    elif what == "remove":
        run("DELETE FROM audit WHERE seq = ?", (seq,))
    elif what == "tail":
        run("DELETE FROM audit WHERE seq >= ?", (seq,))
    elif what == "swap":
        other = seq % ROWS + 1
        run("UPDATE audit SET seq = -1 WHERE seq = ?", (seq,))
        run("UPDATE audit SET seq = ? WHERE seq = ?", (seq, other))
        run("UPDATE audit SET seq = ? WHERE seq = -1", (other,))
    else:
        rebuild(connection, seq if what == "rebuild" else ROWS + 1, rnd)
    return what


def rebuild(connection: apsw.Connection, seq: int, rnd: random.Random) -> None:
    """Forge a valid chain from ``seq`` on, and the head as far as it goes without the key."""
    rows = [AuditRow(*r) for r in connection.execute("SELECT * FROM audit ORDER BY seq")]
    head = Head(seq - 1, rows[seq - 2].digest if seq > 1 else bytes(32))
    tail = [NewAudit(*row[1:8]) for row in rows[seq - 1 :]] or [act(99)]
    forged = chain([tail[0]._replace(actor="eve"), *tail[1:]], head)
    connection.execute("DELETE FROM audit WHERE seq >= ?", (seq,))
    for row in forged:
        connection.execute("INSERT INTO audit VALUES (?,?,?,?,?,?,?,?,?,?)", row)
    if rnd.random() < 0.7:
        proof = rnd.choice([b"", bytes(16), rnd.randbytes(16), forged[-1].digest[:16]])
        text = f"{forged[-1].seq}:{forged[-1].digest.hex()}:{proof.hex()}"
        connection.execute("UPDATE setting SET value = ? WHERE key = 'audit_head'", (text,))
    elif rnd.random() < 0.5:
        connection.execute("DELETE FROM setting WHERE key = 'audit_head'")


@pytest.mark.crash
def test_a_thousand_random_tamperings_of_a_real_file_are_found(
    database: bytes, tmp_path: Path, ledger: Ledger
) -> None:
    """``IFENGINE_TAMPERINGS`` sets how many (10,000 in a campaign), ``IFENGINE_SEED`` repeats them."""
    folder = tmp_path / "store"
    SqliteStore(folder).close()
    (folder / "store.db").write_bytes(database)
    intact = AuditReport(ROWS, 0, "")
    number = seed()
    rnd = random.Random(number)
    connection = open_writer(folder / "store.db", None)
    assert verify_log(_Same(connection), RING.audit_mac) == intact  # type: ignore[arg-type]
    tried: Counter[str] = Counter()
    missed: list[str] = []
    for trial in range(TAMPERINGS):
        connection.execute("BEGIN")
        what = tamper(connection, rnd)
        report = verify_log(_Same(connection), RING.audit_mac)  # type: ignore[arg-type]
        connection.execute("ROLLBACK")
        tried[what] += 1
        if not (report.problem and report.first_bad):
            missed.append(f"number {trial}: {what}")
    ledger.record(
        "G14", "tamperings with the audit log, cut tails among them", trials=TAMPERINGS,
        failures=len(missed), found=f"{dict(tried)}; IFENGINE_SEED={number}",
    )  # fmt: skip
    assert missed == [], f"IFENGINE_SEED={number}: {missed[:5]}"
    assert verify_log(_Same(connection), RING.audit_mac) == intact  # type: ignore[arg-type]
    connection.close()


class _Same:
    """A reader that sees the open transaction, so that a thousand tamperings need no commit."""

    def __init__(self, connection: apsw.Connection) -> None:
        from ifengine.store.sqlite_read import SqliteReader

        self._run = connection.execute
        for name in ("audit_after", "setting", "counters"):
            setattr(self, name, getattr(SqliteReader, name).__get__(self))


def test_a_log_cut_to_nothing_is_found_once_there_are_messages() -> None:
    store = MemoryStore()
    commit(store, Batch(inbox=[entry(1)]))
    report = verify_log(store.reader(), None)
    assert report.problem == "the audit log is missing"
    assert verify_log(MemoryStore().reader(), None) == (0, 0, "")


def test_without_keys_the_numbers_of_the_head_are_compared() -> None:
    store = MemoryStore()
    store.protect_audit(RING.audit_mac)
    commit(store, Batch(audits=[act(1), act(2)]))
    assert verify_log(store.reader(), None).problem == ""
    store._contents.audits.pop()
    assert verify_log(store.reader(), None).first_bad == 2


def test_records_that_come_while_the_log_is_verified_are_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    store.protect_audit(RING.audit_mac)
    commit(store, Batch(audits=[act(1)]))
    reader = store.reader()
    read = reader.setting
    more = iter([2, 3])

    def late(key: str) -> str | None:
        found = read(key)
        for i in more:
            commit(store, Batch(audits=[act(i)]))
            break
        return found

    monkeypatch.setattr(reader, "setting", late)
    assert verify_log(reader, RING.audit_mac) == (3, 0, "")


def test_a_long_log_is_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "CHUNK_ROWS", 7)
    store = MemoryStore()
    store.protect_audit(RING.audit_mac)
    commit(store, Batch(audits=[act(i) for i in range(50)]))
    assert verify_log(store.reader(), RING.audit_mac) == (50, 0, "")
    store._contents.audits[20] = store._contents.audits[20]._replace(actor="eve")
    assert verify_log(store.reader(), RING.audit_mac).first_bad == 21
