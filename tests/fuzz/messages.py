"""Messages made from choices: built of parts, cut from the samples, or any bytes."""

from functools import cache
from pathlib import Path

from fuzz.draw import Draw

ROOT = Path(__file__).resolve().parents[2]
CANARY = "QZCANARYQZ"  # stands in values: no text that is safe to show may hold it

DELIMITERS = (
    (b"|", b"^~\\&"),
    (b"|", b"^~\\&#"),
    (b"|", b"^"),
    (b"|", b"^~"),
    (b"|", b"^~\\"),
    (b"@", b"!$?%"),
    (b"#", b"*+-."),
    (b".", b"[](-"),
    (b"!", b"^\\~&"),
    (b"+", b"^~\\&"),
)
CHARSETS = (
    b"", b"UNICODE UTF-8", b"8859/1", b"ASCII", b"GB 18030-2000", b"BIG-5", b"ISO IR87", b"SHIFT_JIS",
    b"KS X 1001", b"8859/9", b"CP1252", b'""', b"NO SUCH",
)  # fmt: skip
NAMES = (
    b"PID", b"PV1", b"OBR", b"OBX", b"NTE", b"ORC", b"ZPI", b"EVN", b"AL1", b"MRG", b"NK1", b"SPM",
    b"TQ1", b"PD1", b"DG1", b"MSA", b"ERR", b"BTS", b"Z99", b"MSH", b"pid", b"",
)  # fmt: skip
TYPES = (
    (b"ADT", b"A01"), (b"ADT", b"A40"), (b"ORU", b"R01"), (b"ORM", b"O01"), (b"ADT", b"A08"),
    (b"ACK", b"A01"), (b"MDM", b"T02"), (b"", b""), (b"SIU", b"S12"), (b"ADT", b"A24"),
)  # fmt: skip
VALUES = (
    b"", CANARY.encode(), b"1", b'""', b"20260105101500", b"-3.5", b">500", b"A" * 70, b"F", b"MR",
    b"RIVERSIDE", b"\\F\\", b"\\S\\", b"\\T\\", b"\\E\\", b"\\X41\\", b"\\X0D\\", b"\\.br\\", b"\\",
    b"\\H\\x\\N\\", b"\\Zz\\", b"\xe9", b"\xc3\xa9", b"\xff", b"\xa4\xe5", b"\x1b$B0l\x1b(B",
    b"\x00", b"\n", b" ", b"19800215", b"2026", b"0" * 30, b"12:00", b"\x95\x5c", b"\x84\x31\xa4\x37",
)  # fmt: skip


@cache
def samples() -> tuple[bytes, ...]:
    """Return the messages of the repository."""
    found = [*(ROOT / "channels" / "samples").glob("*.hl7")]
    found += (ROOT / "tests" / "fixtures" / "hl7").glob("*.hl7")
    return tuple(path.read_bytes() for path in sorted(found))


def content(draw: Draw) -> bytes:
    """Return what may stand in a frame."""
    match draw.number(4):
        case 0:
            return draw.rest()
        case 1:
            return edited(draw, draw.choice(samples()))
        case 2:
            return marked(draw, draw.choice(samples()))
        case _:
            return built(draw)


def edited(draw: Draw, whole: bytes) -> bytes:
    """Return bytes with up to four places changed."""
    for _ in range(draw.number(4)):
        at = draw.number(len(whole))
        piece = draw.choice(VALUES) if draw.flag() else draw.some(6)
        whole = whole[:at] + piece + whole[at + draw.number(8) :]
    return whole


def marked(draw: Draw, sample: bytes) -> bytes:
    """Return a good message with other values in some of its fields."""
    separator, msh2 = sample[3:4], sample[4:8]
    lines = [line for line in sample.splitlines() if line]
    for _ in range(draw.number(7) + 1):
        at = draw.number(len(lines) - 1)
        fields = lines[at].split(separator)
        place = draw.number(len(fields) - 1)
        if place > 1 or (place and at):
            mark = CANARY.encode()
            fields[place] = draw.choice(
                (mark, mark + msh2[:1] + mark, field(draw, separator, msh2))
            )
        lines[at] = separator.join(fields)
    return b"\r".join(lines) + b"\r"


def value(draw: Draw) -> bytes:
    return draw.choice(VALUES) if draw.byte() % 4 else draw.some(12)


def field(draw: Draw, separator: bytes, msh2: bytes) -> bytes:
    """Return an encoded field: values with delimiters between them."""
    marks = [msh2[n : n + 1] for n in (0, 1, 3)]
    parts = [value(draw)]
    for _ in range(draw.number(3)):
        parts += (draw.choice(marks), value(draw))
    return b"".join(parts).replace(separator, b"")


def built(draw: Draw) -> bytes:
    """Return a message of segments and fields."""
    separator, msh2 = draw.choice(DELIMITERS)
    code, event = draw.choice(TYPES)
    kind = code + msh2[:1] + event
    control_id = draw.choice((b"C1", b"", b'""', value(draw).replace(separator, b"")))
    conditions = [draw.choice((b"", b"", b"AL", b"NE", b"ER", b"SU", b'""', b"XX")) for _ in "ab"]
    version = draw.choice((b"2.5.1", b"2.3", b"2.8", b"", b"9", b"2." + msh2[:1]))
    msh = [
        b"MSH", msh2, b"S", b"SF", b"R", value(draw).replace(separator, b""), b"20260105", b"", kind,
        control_id, b"P", version, b"", b"", *conditions, b"", draw.choice(CHARSETS),
    ]  # fmt: skip
    lines = [separator.join(msh)]
    for _ in range(draw.number(6)):
        fields = [draw.choice(NAMES)]
        fields += (field(draw, separator, msh2) for _ in range(draw.number(9)))
        lines.append(separator.join(fields))
    end = draw.choice((b"\r", b"\r", b"\r", b"\n", b"\r\n", b"\r\r"))
    mark = b"\xef\xbb\xbf" if draw.byte() == 255 else b""
    return mark + end.join(lines) + draw.choice((end, b""))


def requests_place(draw: Draw) -> tuple[int, int | None, int | None, int | None]:
    """Return a field and its repetition, component and subcomponent, or None for a whole level."""
    numbers = [draw.choice((None, 1, 2, 1, 3)) for _ in range(3)]
    return draw.number(19) + 1, numbers[0], numbers[1], numbers[2]
