"""Text to values, by rule."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifengine.routes.config import scalars
from ifengine.routes.config.keys_channel import CHANNEL, DEDUPE, EXPECT
from ifengine.routes.config.keys_common import RETRY
from ifengine.routes.config.keys_connection import LISTEN_CONNECTION, SEND_CONNECTION, TLS
from ifengine.routes.config.keys_destination import DESTINATION, FILES
from ifengine.routes.config.keys_site import DEFAULTS, KEEP, LISTEN, PATIENT, SITE, STORE
from ifengine.routes.config.keys_tests import CHANGED, DETAILS, TEST
from ifengine.routes.config.kinds import Raw
from ifengine.routes.config.message_types import overlap, required_segments
from ifengine.routes.config.models import TypePattern
from ifengine.routes.config.scalars import ScalarError
from ifengine.routes.config.sections import Status
from ifengine.routes.config.yaml_nodes import compose
from ifengine.transforms.source import Entries, Problems

TABLES = {
    "CHANNEL": CHANNEL, "DEDUPE": DEDUPE, "DESTINATION": DESTINATION, "EXPECT": EXPECT, "FILES": FILES,
    "RETRY": RETRY, "LISTEN_CONNECTION": LISTEN_CONNECTION, "SEND_CONNECTION": SEND_CONNECTION,
    "TLS": TLS, "DEFAULTS": DEFAULTS, "KEEP": KEEP, "LISTEN": LISTEN, "PATIENT": PATIENT, "SITE": SITE,
    "STORE": STORE, "CHANGED": CHANGED, "DETAILS": DETAILS, "TEST": TEST,
}  # fmt: skip
ROWS = [
    pytest.param(row, id=f"{table}.{row.name}")
    for table, rows in TABLES.items()
    for row in rows
    if row.status is not Status.LATER
]


@pytest.mark.parametrize("row", ROWS)
def test_the_example_of_each_key_is_taken_by_its_kind(row) -> None:
    if "9f86d0" in row.example or isinstance(row.kind, Raw):
        assert row.meaning.endswith(".")
        return
    for written in filter(None, (row.example, "" if " " in row.default else row.default)):
        problems = Problems()
        node = compose(f"{row.name}: {written}\n", "x", problems)
        assert isinstance(node, Entries)
        row.kind.read(row.name, node.entries[0][1], problems)
        assert problems.found == []


@pytest.mark.parametrize("table", TABLES)
def test_no_key_stands_twice_in_a_table(table) -> None:
    names = [row.name for row in TABLES[table]]
    assert len(names) == len(set(names))


@given(st.integers(1, 999_999), st.sampled_from(sorted(scalars.SECONDS)))
def test_a_duration_is_its_number_times_its_unit(number, unit) -> None:
    assert scalars.parse_duration(f"{number}{unit}") == pytest.approx(
        number * scalars.SECONDS[unit]
    )


@given(st.integers(1, 9999), st.sampled_from(sorted(scalars.BYTES)))
def test_a_size_is_its_number_times_its_unit(number, unit) -> None:
    assert scalars.parse_size(f"{number}{unit}") == number * scalars.BYTES[unit]


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_a_network_is_taken_exactly_where_it_has_no_bits_beyond_its_prefix(address, prefix) -> None:
    text = f"{ipaddress.ip_address(address)}/{prefix}"
    whole = address & ((1 << (32 - prefix)) - 1) == 0
    if whole:
        assert scalars.parse_network(text) == text
    else:
        with pytest.raises(ScalarError):
            scalars.parse_network(text)


PARSERS = [
    scalars.parse_yes_no, scalars.parse_duration, scalars.parse_size, scalars.parse_port,
    scalars.parse_name, scalars.parse_host, scalars.parse_host_port, scalars.parse_unix,
    scalars.parse_network, scalars.parse_time_range, scalars.parse_type, scalars.parse_fingerprint,
]  # fmt: skip


@given(st.text(max_size=30))
def test_a_parser_returns_or_says_shortly_what_is_wrong(text) -> None:
    for parse in PARSERS:
        said = ""
        try:
            parse(text)
        except ScalarError as error:
            said = error.message
        assert len(said) < 100


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (scalars.parse_yes_no, ["yes", "No", "true", "OFF"], ["y", "1", ""]),
        (scalars.parse_duration, ["500ms", "1.5h", "7y"], ["5", "5 s", "5min", "-5s", "s", "1e3s", "\u0665s"]),
        (scalars.parse_positive_duration, ["1ms"], ["0s"]),
        (scalars.parse_size, ["0KiB", "2GiB"], ["2GB", "2", "2gib"]),
        (scalars.parse_port, ["0", "65535"], ["65536", "-1", "\u0663", "1.0"]),
        (scalars.parse_name, ["a", "lis-adt", "a1"], ["A", "1a", "a_b", "", "a" * 64]),
        (scalars.parse_host, ["h", "lis.example", "10.0.0.1", "::1", "[::1]"], ["h:1", "http://h", "a b", "-"]),
        (scalars.parse_host_port, ["h:1", "[::1]:9"], ["::1:9", "9464", ":9", "h:"]),
        (scalars.parse_unix, ["unix:a/b"], ["a/b", "unix:"]),
        (scalars.parse_time_range, ["06:00-22:00", "22:00-05:00", "00:00-24:00"], ["6-22", "25:00-26:00"]),
        (scalars.parse_type, ["ADT^A01", "ADT^*", "*", "ACK"], ["adt^a01", "ADT^A01^ADT_A01", "A"]),
        (scalars.parse_fingerprint, ["ab" * 32, ":".join(["AB"] * 32)], ["ab" * 31, "zz" * 32]),
    ],
)  # fmt: skip
def test_what_is_taken_and_what_is_not(parse, good, bad) -> None:
    for text in good:
        parse(text)
    for text in bad:
        with pytest.raises(ScalarError):
            parse(text)


PATTERNS = st.builds(
    TypePattern,
    code=st.sampled_from(["*", "ADT", "ORU"]),
    event=st.sampled_from(["*", "A01", "R01"]),
)


@given(st.lists(PATTERNS, max_size=3), st.lists(PATTERNS, max_size=3))
def test_types_overlap_exactly_where_some_message_is_admitted_by_both(first, second) -> None:
    def admits(patterns: list[TypePattern], code: str, event: str) -> bool:
        return not patterns or any(p.admits(code, event) for p in patterns)

    some = any(
        admits(first, code, event) and admits(second, code, event)
        for code in ("ADT", "ORU", "XXX")
        for event in ("A01", "R01", "X01")
    )
    both = overlap(first, second)
    assert (both is not None) == some


@pytest.mark.parametrize(
    ("type_", "segments"),
    [
        ("ADT^A01", ("MSH", "EVN", "PID", "PV1")),
        ("ADT^A08", ("MSH", "EVN", "PID", "PV1")),
        ("ADT^A40", ("MSH", "EVN", "PID", "MRG")),
        ("ADT^A20", ("MSH", "EVN", "NPU")),
        ("ADT^*", ("MSH", "EVN")),
        ("ORU^R01", ("MSH", "OBR")),
        ("ZZZ^Z01", ("MSH",)),
    ],
)
def test_required_segments_are_those_of_the_structure(type_, segments) -> None:
    code, event = type_.split("^")
    assert tuple(required_segments(TypePattern(code=code, event=event))) == segments


def test_the_zone_of_an_address_holds_no_blank_and_no_line_end() -> None:
    assert scalars.parse_host("fe80::1%eth0") == "fe80::1%eth0"
    for text in ("fe80::1%eth 0", "fe80::1%eth0\n", "[fe80::1%\x00]"):
        with pytest.raises(scalars.ScalarError):
            scalars.parse_host(text)


def test_a_network_has_no_zone() -> None:
    assert scalars.parse_network("fe80::1") == "fe80::1/128"
    for text in ("fe80::1%eth0", "fe80::1%e th\n"):
        with pytest.raises(scalars.ScalarError):
            scalars.parse_network(text)


def test_a_day_ends_at_24_00() -> None:
    assert scalars.parse_time_range("06:00-24:00") == "06:00-24:00"
    for text in ("06:00-24:30", "24:00-06:00"):
        with pytest.raises(scalars.ScalarError):
            scalars.parse_time_range(text)
