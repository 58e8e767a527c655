"""The ports of tests: free, different, and out of the way of outgoing connections."""

import socket
from pathlib import Path

import pytest

import ports


def test_ports_are_different_free_and_not_of_the_outgoing_ones() -> None:
    found = ports.free_ports(200)
    assert len(set(found)) == 200
    if ports.end_of_range() > ports.LOWEST + 1000:
        assert all(ports.LOWEST <= port < ports.end_of_range() for port in found)
    for port in found:
        socket.create_server(("127.0.0.1", port)).close()


def test_one_that_is_listened_on_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = ports.free_ports(2)
    ports._given -= {taken, free}
    lot = iter([taken, taken, free])
    monkeypatch.setattr(ports._lot, "randrange", lambda low, high: next(lot))
    with socket.create_server(("127.0.0.1", taken)):
        assert ports.free_port() == free


@pytest.mark.parametrize("text", ["1024\t65535\n", "nonsense", ""])
def test_where_outgoing_ones_are_everywhere_or_unknown_there_is_one_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    said = tmp_path / "range"
    said.write_text(text)
    assert ports.end_of_range(said) == (1024 if text.startswith("1024") else 32_768)
    monkeypatch.setattr(ports, "end_of_range", lambda: ports.LOWEST)
    socket.create_server(("127.0.0.1", ports.free_port())).close()
