"""Delivery into a directory: never outside it, never over what is there, never half a file."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.support import adt
from ifengine.routes.endpoints.files import FilesLane, is_safe_name, write_once
from ifengine.routes.retry import Attempt, AttemptResult
from routes.endpoints.harness import Driver, driving


def lane(directory: Path):  # type: ignore[no-untyped-def]
    def make(driver: Driver) -> FilesLane:
        return FilesLane(directory, driver.owner, asyncio.get_running_loop(), driver.spawn)

    return make


HOSTILE = [
    "",
    ".",
    "..",
    "../x.hl7",
    "..\\x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\0b",
    "\0",
    ".hidden",
    ".x.hl7.part",
    "x\n",
    "x y",
    "x;rm",
    "~root",
    "$HOME",
    "ä",
    "\uff41",  # a full-width letter
    "x" * 101,
    "..%2f",
    "\u202ex",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_name_is_refused_and_touches_nothing(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with driving(lane(out)) as driver:
        attempt = await driver.carry(adt("M1"), name=name)
        assert attempt.result is AttemptResult.UNSENDABLE
        assert attempt.label == "file name has characters that are not safe"
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=130))
@example("a")
@example("A-1_b.hl7")
@example("a" * 100)
def test_a_name_is_safe_only_if_it_is_one_plain_component_of_its_directory(name: str) -> None:
    plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
    expected = 0 < len(name) <= 100 and name[0] != "." and all(c in plain for c in name)
    assert is_safe_name(name) is expected
    if is_safe_name(name):
        assert os.path.basename(name) == name
        assert (Path("/out") / name).resolve().parent == Path("/out")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "/", "\\", "a", "b.hl7", "\0", "~", " ", "etc", "é"]),
        max_size=6,
    )
)
def test_whatever_the_name_nothing_is_written_outside(parts: list[str], tmp_path: Path) -> None:
    async def go() -> Attempt:
        async with driving(lane(tmp_path / "in" / "out")) as driver:
            return await driver.carry(b"content", name="".join(parts))

    attempt = asyncio.run(go())
    written = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert all(p.parent == tmp_path / "in" / "out" for p in written)
    assert (attempt.result is AttemptResult.ACCEPTED) is is_safe_name("".join(parts))


async def test_a_file_is_whole_private_and_alone(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    async with driving(lane(out)) as driver:
        attempt = await driver.carry(adt("M1"), name="1.hl7")
        assert (attempt.result, attempt.label) == (AttemptResult.ACCEPTED, "file")
    assert (out / "1.hl7").read_bytes() == adt("M1")
    assert (out / "1.hl7").stat().st_mode & 0o777 == 0o600
    assert out.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in out.iterdir()] == ["1.hl7"]  # no temporary file stays


@pytest.mark.parametrize(
    "there", [b"", b"other", adt("M1")[:-1], adt("M1") + b"\r", b"x" * len(adt("M1"))]
)
async def test_an_existing_name_with_other_bytes_is_never_replaced(
    there: bytes, tmp_path: Path
) -> None:
    (tmp_path / "1.hl7").write_bytes(there)
    async with driving(lane(tmp_path)) as driver:
        attempt = await driver.carry(adt("M1"), name="1.hl7")
        assert attempt.result is AttemptResult.UNSENDABLE
        assert attempt.label == "file exists with other content"
    assert (tmp_path / "1.hl7").read_bytes() == there
    assert len(list(tmp_path.iterdir())) == 1


async def test_the_same_bytes_again_count_as_written(tmp_path: Path) -> None:
    async with driving(lane(tmp_path)) as driver:
        for _ in range(2):
            attempt = await driver.carry(adt("M1"), name="1.hl7")
            assert attempt.result is AttemptResult.ACCEPTED
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", ["to a file", "to nothing", "to the same bytes", "to a folder"])
async def test_a_symbolic_link_under_the_name_is_never_followed(kind: str, tmp_path: Path) -> None:
    out, target = tmp_path / "out", tmp_path / "target"
    out.mkdir()
    match kind:
        case "to a file":
            target.write_bytes(b"precious")
        case "to the same bytes":
            target.write_bytes(adt("M1"))
        case "to a folder":
            target.mkdir()
    (out / "1.hl7").symlink_to(target)
    async with driving(lane(out)) as driver:
        attempt = await driver.carry(adt("M1"), name="1.hl7")
        assert attempt.result is AttemptResult.UNSENDABLE
    assert (out / "1.hl7").is_symlink()
    assert target.exists() is (kind != "to nothing")
    if kind == "to a file":
        assert target.read_bytes() == b"precious"


async def test_a_symbolic_link_in_place_of_the_temporary_file_is_not_written_through(
    tmp_path: Path,
) -> None:
    out, target = tmp_path / "out", tmp_path / "target"
    out.mkdir()
    target.write_bytes(b"precious")
    (out / ".1.hl7.part").symlink_to(target)
    async with driving(lane(out)) as driver:
        attempt = await driver.carry(adt("M1"), name="1.hl7")
        assert attempt.result is not AttemptResult.ACCEPTED
    assert target.read_bytes() == b"precious"


def test_what_a_crash_left_half_written_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".1.hl7.part").write_bytes(b"half")
    assert write_once(tmp_path, "1.hl7", b"whole content")
    assert (tmp_path / "1.hl7").read_bytes() == b"whole content"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_has_its_name_only_after_its_bytes_are_on_stable_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(handle: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        real_fsync(handle)

    def link(*args: object, **keywords: object) -> None:
        done.append("name")
        real_link(*args, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    assert write_once(tmp_path, "1.hl7", b"content")
    assert done == ["folder", "file", "name", "folder"]  # first the entry of the folder itself


async def test_a_disk_that_is_full_is_a_destination_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    async with driving(lane(tmp_path)) as driver:
        attempt = await driver.carry(adt("M1"), name="1.hl7")
        assert attempt.result is AttemptResult.UNREACHABLE
        assert list(tmp_path.iterdir()) == []
        monkeypatch.undo()
        assert (await driver.carry(adt("M1"), name="1.hl7")).result is AttemptResult.ACCEPTED
