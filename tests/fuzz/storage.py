"""What lies on the disk: sealed content, the audit chain, key files, packed rows."""

import atexit
import contextlib
import shutil
import tempfile
from functools import cache
from pathlib import Path

from fuzz.draw import Draw
from ifengine.errors import DamagedPageError, SealError
from ifengine.store.audit import EMPTY, Head, head_problem, head_text, link, verify
from ifengine.store.base import AuditRow, Fate, NewAudit, PlannedFate
from ifengine.store.keys import FileKek, KeyFileError
from ifengine.store.sealing import BlobKind, KeyRing
from ifengine.store.sqlite_rows import pack_fates, unpack_fates

_MOST = 2**63 - 1


class _Kek:
    """A provider whose wrap is readable: the ring is what is tried."""

    where = "fixed"
    kek_id = "0a1b2c3d"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        return context + key

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        if wrapped[:-32] != context:
            raise SealError("other context")
        return wrapped[-32:]


@cache
def _ring() -> KeyRing:
    ring = KeyRing(bytes(16), [], _Kek())
    ring.start_keys(1, 0)
    return ring


def sealed(data: bytes) -> None:
    """What was sealed opens at its place alone; any flipped bit, cut or addition is found."""
    draw = Draw(data)
    kind = draw.choice(tuple(BlobKind))
    a, b = draw.number(_MOST), draw.number(_MOST)
    flips = [draw.number(65535) for _ in range(draw.number(2) + 1)]
    what = draw.number(4)
    plain = draw.rest()
    ring = _ring()
    blob = ring.seal(kind, a, b, plain)
    assert ring.open(kind, a, b, blob) == plain
    places = [(kind, a, b)]
    changed = bytearray(blob)
    if what == 0:
        for flip in flips:
            changed[flip // 8 % len(changed)] ^= 1 << flip % 8
    elif what == 1:
        changed = changed[: flips[0] % len(changed)]
    elif what == 2:
        changed += plain[:1] or b"x"
    elif what == 3:
        places = [(BlobKind(kind % len(BlobKind) + 1), a, b), (kind, a ^ 1, b), (kind, a, b ^ 1)]
    else:
        changed = bytearray(plain)
    if bytes(changed) == blob and what != 3:
        return  # two flips of one bit
    for place in places:
        try:
            ring.open(*place, bytes(changed))
        except SealError as error:
            assert plain[:12].decode("latin-1") not in str(error) or len(plain) < 12
        else:
            raise AssertionError("changed content was opened")


# --- audit --------------------------------------------------------------------------------------


def audit(data: bytes) -> None:
    """An untouched chain is whole; one that somebody changed, cut, added to or forged never is."""
    draw = Draw(data)
    records = [_record(draw, n) for n in range(draw.number(6) + 1)]
    rows = _chained(records, EMPTY)
    mac = _ring().audit_mac
    text = head_text(Head(rows[-1].seq, rows[-1].digest), mac)
    assert not _problem(rows, text)
    changed = _tampered(draw, rows)
    if changed != rows:
        assert _problem(changed, text), "a changed audit log passed"
    other = draw.some(30).decode("latin-1")
    if other != text:
        assert _problem(rows, other), "a forged head passed"
    if changed and changed != rows:
        newest = Head(changed[-1].seq, changed[-1].digest)
        forged = head_text(newest, lambda seq, digest: draw.some(16).ljust(16, b"\0"))
        if newest != Head(rows[-1].seq, rows[-1].digest):
            assert _problem(changed, forged), "a forged proof passed"


def _record(draw: Draw, n: int) -> NewAudit:
    words = [draw.choice(("anna", "engine", "viewed", "", "é", draw.text(4))) for _ in range(4)]
    return NewAudit(n + draw.number(9), words[0], words[1], words[2], n, words[3], draw.some(5))


def _chained(records: list[NewAudit], head: Head) -> list[AuditRow]:
    rows = []
    for record in records:
        rows.append(link(head, record))
        head = Head(rows[-1].seq, rows[-1].digest)
    return rows


def _problem(rows: list[AuditRow], text: str) -> bool:
    if verify(rows) is not None:
        return True
    newest = Head(rows[-1].seq, rows[-1].digest) if rows else EMPTY
    return bool(head_problem(text, newest, _ring().audit_mac))


def _tampered(draw: Draw, rows: list[AuditRow]) -> list[AuditRow]:
    at = draw.number(len(rows) - 1)
    row = rows[at]
    match draw.number(6):
        case 0:
            return rows[:at] + rows[at + 1 :]
        case 1:
            return rows[:at]
        case 2:
            return [*rows[:at], row._replace(actor=row.action, action=row.actor), *rows[at + 1 :]]
        case 3:
            whole = bytearray(row.detail or b"\0")
            whole[draw.number(len(whole) - 1)] ^= 1 << draw.number(7)
            return [*rows[:at], row._replace(detail=bytes(whole)), *rows[at + 1 :]]
        case 4:
            names = ("actor", "action", "object", "outcome")
            return [*rows[:at], row._replace(**{draw.choice(names): "eve"}), *rows[at + 1 :]]
        case 5:
            numbers = ("at_us", "inbox_id", "seq")
            return [*rows[:at], row._replace(**{draw.choice(numbers): 7_777}), *rows[at + 1 :]]
        case _:  # the chain from there on is made again, as somebody without the keys can
            tail = [NewAudit(*r[1:8]) for r in rows[at:]]
            tail[0] = tail[0]._replace(actor=tail[0].actor + "x")
            before = Head(at, rows[at - 1].digest) if at else EMPTY
            return rows[:at] + _chained(tail, before)


# --- key files and rows -------------------------------------------------------------------------


@cache
def _key_file() -> tuple[Path, bytes, str]:
    folder = Path(tempfile.mkdtemp(prefix="ifengine-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = FileKek.init_file(folder / "kek")
    return folder / "kek", (folder / "kek").read_bytes(), made.kek_id


def key_file(data: bytes) -> None:
    """A key file is read as it was written, or refused without showing what is in it."""
    draw = Draw(data)
    path, whole, kek_id = _key_file()
    secret = whole.splitlines()[1]
    changed = whole
    for _ in range(draw.number(2)):
        at = draw.number(len(changed)) if changed else 0
        changed = changed[:at] + draw.some(4) + changed[at + draw.number(4) :]
    if draw.byte() % 8 == 0:
        changed = draw.rest()
    path.write_bytes(changed)
    try:
        found = FileKek(path)
    except KeyFileError as error:
        assert secret.decode() not in str(error)
        assert changed.strip() != whole.strip()
        return
    same = changed.split(b"\n", 1)[1].strip() == secret
    assert (found.kek_id == kek_id) == same
    assert secret.decode() not in repr(found)


def packed_rows(data: bytes) -> None:
    """Fates come out as they went in; packed bytes that were changed are not read as something else."""
    draw = Draw(data)
    fates = tuple(
        PlannedFate(
            draw.number(2**32 - 1), draw.choice(tuple(Fate)), draw.number(2**32 - 1),
            draw.number(_MOST), draw.text(9),
        )
        for _ in range(draw.number(4))
    )  # fmt: skip
    packed = pack_fates(fates)
    assert unpack_fates(packed) == fates
    ends = [len(pack_fates(fates[:n])) for n in range(len(fates) + 1)]
    cut = draw.number(max(len(packed), 1)) if packed else 0
    try:
        again = unpack_fates(packed[:cut])
    except DamagedPageError:
        assert cut not in ends
    else:
        assert cut in ends, "half a reason was read as a whole one"
        assert again == fates[: len(again)]
    changed = bytearray(packed)
    for _ in range(draw.number(3)):
        if changed:
            changed[draw.number(len(changed) - 1)] ^= draw.byte()
    with contextlib.suppress(DamagedPageError):
        assert pack_fates(unpack_fates(bytes(changed))) == bytes(changed)
