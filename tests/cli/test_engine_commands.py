"""Commands that ask a running engine, against a stand-in: what is asked, what is printed, exit codes."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cli.support import Refusal, here, stand_in, verbs, write_site

MESSAGE = {
    "id": "17", "received_at": "2026-11-21T11:41:07.120Z", "channel": "adt", "type": "ADT^A01",
    "control_id": "C1", "patient": "••••••", "state": "dead_letter", "reason": "", "config_version": 3,
    "origin": None,
    "destinations": [
        {"name": "lab", "state": "dead_letter", "attempts": 2, "reason": "answered AR", "code": "AR",
         "possible_duplicate": False},
        {"name": "ris", "state": "sent", "attempts": 1, "reason": "", "code": "AA", "possible_duplicate": False},
    ],
}  # fmt: skip
GROUP = {
    "group": 1, "count": 41, "channel": "adt", "destination": "lab", "state": "dead_letter",
    "reason": "answered AR", "first": "2026-11-21T11:40:00.000Z", "last": "2026-11-21T12:03:00.000Z",
    "held_behind": 2, "messages": ["17", "18"],
}  # fmt: skip
PREVIEW = {
    "dry_run": True, "as": "reprocess", "asked": 2, "going": 2, "older": 0, "unordered": 0, "gone": 0,
    "filtered": 0, "failed_again": 0, "identity": 0, "config_version": 4, "letters": ["3:5", "3:6"],
    "sample": [{"letter": "3:5", "id": "17", "channel": "adt", "destination": "lab", "reason": "answered AR"}],
}  # fmt: skip
DISCARD = {
    "dry_run": True,
    "asked": 2,
    "discarded": 0,
    "gone": 0,
    "letters": ["3:5", "3:6"],
    "sample": [],
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "s")


def replayed(request: dict, **counts: int) -> dict:
    return PREVIEW | {"dry_run": request["dry_run"], "as": request["as"]} | counts


# --- reaching the engine --------------------------------------------------------------------------

ASKING = [
    ["channels", "list"], ["channels", "pause", "adt"], ["channels", "resume", "adt"],
    ["messages", "list"], ["messages", "show", "1"], ["messages", "trace", "1"],
    ["dlq", "list"], ["dlq", "show", "1"], ["dlq", "replay", "1", "--yes", "--reason", "x"],
    ["dlq", "discard", "1", "--yes", "--reason", "x"], ["audit", "verify"], ["keys", "status"],
    ["doctor"], ["metrics"],
]  # fmt: skip


@pytest.mark.parametrize("args", ASKING, ids=" ".join)
def test_no_engine_ends_with_3_and_says_how_to_start_one(site: Path, args: list[str]) -> None:
    done = here(*args, "--site", str(site))
    assert done.code == 3
    assert done.out == ""
    assert "ifengine serve" in done.err


@pytest.mark.parametrize(
    ("code", "expected"), [("refused", 4), ("usage", 2), ("not_found", 1), ("failed", 1)]
)
@pytest.mark.parametrize("args", ASKING, ids=" ".join)
def test_an_error_of_the_engine_ends_in_its_exit_code(
    site: Path, args, code: str, expected: int
) -> None:
    refusal = Refusal(code, "it may not be", "ask somebody")
    names = {
        "channels list": "channels__list", "channels pause": "channels__pause", "channels resume": "channels__resume",
        "messages list": "messages__list", "messages show": "messages__show", "messages trace": "messages__trace",
        "dlq list": "dlq__list", "dlq show": "dlq__show", "dlq replay": "dlq__replay", "dlq discard": "dlq__discard",
        "audit verify": "audit__verify", "keys status": "keys__status", "doctor": "doctor", "metrics": "metrics",
    }  # fmt: skip
    name = names.get(" ".join(args[:2])) or names[args[0]]
    with stand_in(site, **{name: refusal}):
        done = here(*args, "--site", str(site))
    assert done.code == expected
    assert "it may not be" in done.err
    assert "= ask somebody" in done.err


# --- messages -------------------------------------------------------------------------------------


def test_messages_list_asks_with_its_filters_and_prints_the_fixed_shape(site: Path) -> None:
    with stand_in(site, messages__list=[MESSAGE]) as engine:
        done = here(
            "messages", "list", "--site", str(site), "-o", "json", "--channel", "adt", "--dest", "lab",
            "--state", "dead_letter,held", "--state", "queued", "--type", "ADT^A01",
            "--since", "2026-11-21T11:00:00Z", "--limit", "5",
        )  # fmt: skip
    assert done.code == 0
    assert done.json() == [MESSAGE]
    assert engine.asked == [
        {"verb": "messages.list", "channel": "adt", "dest": "lab", "since_us": 1795258800000000,
         "type": "ADT^A01", "state": ["dead_letter", "held", "queued"], "limit": 5}
    ]  # fmt: skip


def test_a_long_list_is_asked_for_in_pages(site: Path) -> None:
    def page(request: dict) -> list[dict]:
        first = request.get("before", 2501) - 1
        return [
            MESSAGE | {"id": str(n)} for n in range(first, max(0, first - request["limit"]), -1)
        ]

    with stand_in(site, messages__list=page) as engine:
        done = here("messages", "list", "--limit", "1000000", "-o", "name", "--site", str(site))
        some = here("messages", "list", "--limit", "1200", "-o", "name", "--site", str(site))
    assert done.out.split() == [str(n) for n in range(2500, 0, -1)]
    assert some.out.split() == [str(n) for n in range(2500, 1300, -1)]
    assert [request["limit"] for request in engine.asked] == [1000, 1000, 1000, 1000, 200]


def test_messages_list_as_table_csv_and_lines(site: Path) -> None:
    with stand_in(site, messages__list=[MESSAGE]):
        table = here("messages", "list", "--site", str(site)).out.splitlines()
        csv = here("messages", "list", "--site", str(site), "-o", "csv").out.splitlines()
        lines = here("messages", "list", "--site", str(site), "-o", "jsonl").out.splitlines()
    assert table[0].split() == [
        "ID",
        "RECEIVED",
        "TYPE",
        "CONTROL",
        "PATIENT",
        "STATE",
        "WHERE",
        "REASON",
    ]
    assert "dead_letter  lab    answered AR" in table[1]
    assert csv[0] == "id,received,type,control,patient,state,where,reason"
    assert csv[1].startswith("17,")
    assert len(lines) == 1


def test_an_unknown_state_is_wrong_usage(site: Path) -> None:
    done = here("messages", "list", "--state", "lost", "--site", str(site))
    assert done.code == 2
    assert "dead_letter" in done.err


def test_what_a_peer_wrote_cannot_move_the_terminal(site: Path) -> None:
    evil = MESSAGE | {"control_id": "C\x1b[2J\x9b1A\u202eX"}
    with stand_in(site, messages__list=[evil]):
        for form in ("table", "json", "csv"):
            out = here("messages", "list", "--site", str(site), "-o", form).out
            assert not any(
                (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in out
            )


@pytest.mark.parametrize("option", ["--patient", "--control-id"])
def test_nothing_of_a_message_stands_on_a_command_line(site: Path, option: str) -> None:
    with stand_in(site, messages__list=[]) as engine:
        written = here("messages", "list", option, "7001", "--site", str(site))
        read = here("messages", "list", option, "-", "--site", str(site), given="7001\n")
    assert written.code == 2
    assert "7001" not in written.err
    assert f"{option} -" in written.err
    assert read.code == 0
    assert [r[option.strip("-").replace("-", "_")] for r in engine.asked] == ["7001"]
    assert here("messages", "list", option, "-", "--site", str(site), given="").code == 2


@pytest.mark.parametrize("noun", [["messages", "show"], ["messages", "trace"], ["dlq", "show"]])
def test_values_need_phi_and_a_reason_together(site: Path, noun: list[str]) -> None:
    with stand_in(site) as engine:
        without = here(*noun, "1", "--phi", "--site", str(site))
        blank = here(*noun, "1", "--phi", "--reason", "  ", "--site", str(site))
        alone = here(*noun, "1", "--reason", "ticket 7", "--site", str(site))
    assert (without.code, blank.code, alone.code) == (2, 2, 2)
    assert engine.asked == []


def test_the_bytes_of_a_message_are_only_written_with_phi(site: Path) -> None:
    answer = MESSAGE | {"size": 4, "raw_base64": "TVNIDQ==", "segments": [], "as_sent": []}
    with stand_in(site, messages__show=answer) as engine:
        refused = here("messages", "show", "17", "--raw", "--site", str(site))
        given = here(
            "messages", "show", "17", "--raw", "--phi", "--reason", "t", "--site", str(site)
        )
    assert refused.code == 2
    assert given.out == "MSH\r"
    assert engine.asked == [{"verb": "messages.show", "id": "17", "phi": True, "reason": "t"}]


def test_show_prints_segments_and_what_became_of_it(site: Path) -> None:
    answer = MESSAGE | {
        "size": 60, "readable": True, "listener": "adt-in",
        "segments": [{"segment": "PID", "fields": [{"path": "PID-3", "value": "••••••"}]}],
        "as_sent": [{"destination": "lab", "run": 0, "changed": False, "segments": []}],
    }  # fmt: skip
    with stand_in(site, messages__show=answer):
        done = here("messages", "show", "17", "--site", str(site))
    assert done.out.splitlines()[1:] == [
        "PID", "   3  ••••••", "to lab, run 0, as received", "lab  dead_letter, 2 attempts: answered AR",
        "ris  sent, 1 attempt",
    ]  # fmt: skip


def test_trace_prints_one_line_an_event(site: Path) -> None:
    events = [
        {"at": "2026-11-21T11:41:07.120Z", "event": "received", "peer": "10.0.0.1", "bytes": 60, "reason": ""},
        {"at": "2026-11-21T11:41:08.120Z", "event": "planned", "config_version": 3,
         "destinations": [{"name": "lab", "state": "queued", "reason": ""}]},
        {"at": "2026-11-21T11:41:09.120Z", "event": "sent", "seconds": 0.25, "possible_duplicate": True},
    ]  # fmt: skip
    with stand_in(site, messages__trace=MESSAGE | {"events": events}):
        lines = here("messages", "trace", "17", "--site", str(site)).out.splitlines()[1:]
    assert [line.split("  ", 1)[1].split() for line in lines] == [
        ["received", "peer", "10.0.0.1", "bytes", "60"],
        ["planned", "config", "version", "3", "destinations", "lab", "queued"],
        ["sent", "seconds", "0.250", "possible", "duplicate"],
    ]


# --- dead letters ---------------------------------------------------------------------------------


def test_dlq_list_shows_groups_and_the_next_command(site: Path) -> None:
    with stand_in(site, dlq__list=[GROUP]):
        table = here("dlq", "list", "--site", str(site))
        document = here("dlq", "list", "--site", str(site), "-o", "json")
    assert "41  adt      lab   answered AR" in table.out
    assert "ifengine dlq replay --group 1 --dry-run" in table.err
    assert document.json() == [GROUP]
    assert document.err == ""


def test_replay_previews_then_replays_exactly_what_was_shown(site: Path) -> None:
    with stand_in(site, dlq__replay=replayed) as engine:
        done = here(
            "dlq",
            "replay",
            "--group",
            "1",
            "--yes",
            "--reason",
            "ticket 7",
            "-o",
            "json",
            "--site",
            str(site),
        )
    assert done.code == 0
    assert done.json()["dry_run"] is False
    preview, act = engine.asked
    assert preview == {"verb": "dlq.replay", "group": 1, "as": "reprocess", "allow_older": False,
                       "reason": "ticket 7", "dry_run": True}  # fmt: skip
    assert act == {"verb": "dlq.replay", "letters": ["3:5", "3:6"], "as": "reprocess", "allow_older": False,
                   "reason": "ticket 7", "dry_run": False}  # fmt: skip
    assert "2 dead letters, reprocessed with config 4" in done.err
    assert "17  adt  lab  answered AR" in done.err


@pytest.mark.parametrize("kept", ["older", "unordered", "gone", "failed_again", "identity"])
def test_a_replay_that_kept_some_back_ends_with_5(site: Path, kept: str) -> None:
    with stand_in(site, dlq__replay=lambda request: replayed(request, going=1, **{kept: 1})):
        done = here("dlq", "replay", "17", "18", "--yes", "--reason", "x", "--site", str(site))
    assert done.code == 5
    assert "1 of 2 dead letters replayed" in done.out


@pytest.mark.parametrize("word", ["replay", "discard"])
def test_a_dry_run_needs_no_reason_and_changes_nothing(site: Path, word: str) -> None:
    with stand_in(site, dlq__replay=replayed, dlq__discard=DISCARD) as engine:
        done = here("dlq", word, "--group", "1", "--dry-run", "-o", "json", "--site", str(site))
    assert done.code == 0
    assert done.json()["dry_run"] is True
    assert [request["dry_run"] for request in engine.asked] == [True]


@pytest.mark.parametrize("word", ["replay", "discard"])
def test_without_a_terminal_and_without_yes_nothing_is_asked_and_it_ends_with_4(
    site: Path, word: str
) -> None:
    with stand_in(site, dlq__replay=replayed, dlq__discard=DISCARD) as engine:
        done = here("dlq", word, "17", "--reason", "x", "--site", str(site), given=f"{word}\n")
    assert done.code == 4
    assert "--yes" in done.err
    assert engine.asked == []


@pytest.mark.parametrize("word", ["replay", "discard"])
@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["17", "--yes"], "--reason"),
        (["17", "--yes", "--reason", " "], "--reason"),
        (["--yes", "--reason", "x"], "which dead letters"),
        (["17", "--group", "1", "--yes", "--reason", "x"], "exclude each other"),
        (["--group", "1", "--all", "--yes", "--reason", "x"], "exclude each other"),
    ],
)
def test_a_bulk_command_written_wrongly_ends_with_2(
    site: Path, word: str, args: list[str], told: str
) -> None:
    with stand_in(site, dlq__replay=replayed, dlq__discard=DISCARD) as engine:
        done = here("dlq", word, *args, "--site", str(site))
    assert done.code == 2
    assert told in done.err
    assert engine.asked == []


def typed(args: list[str], text: str) -> tuple[int, str]:
    """Run a command on a terminal of its own and type one line."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "ifengine", *args],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
    ) as process:
        os.close(follower)
        shown = b""
        while b"to go on" not in shown:
            shown += os.read(leader, 4096)
        os.write(leader, text.encode() + b"\n")
        out, _ = process.communicate(timeout=10)
    os.close(leader)
    return process.returncode, shown.decode() + out.decode()


@pytest.mark.parametrize(("text", "code", "acts"), [("replay", 0, 2), ("yes", 4, 1), ("", 4, 1)])
def test_on_a_terminal_the_word_must_be_typed(site: Path, text: str, code: int, acts: int) -> None:
    with stand_in(site, dlq__replay=replayed) as engine:
        ended, shown = typed(
            ["dlq", "replay", "17", "18", "--reason", "x", "--site", str(site)], text
        )
    assert ended == code
    assert len(engine.asked) == acts
    assert "2 dead letters" in shown
    assert shown.index("2 go") < shown.index("Type the word replay")


def test_nothing_to_replay_asks_nothing_more(site: Path) -> None:
    with stand_in(
        site, dlq__replay=PREVIEW | {"asked": 0, "going": 0, "letters": [], "sample": []}
    ) as engine:
        done = here("dlq", "replay", "--all", "--yes", "--reason", "x", "--site", str(site))
    assert done.code == 0
    assert "0 of 0 dead letters replayed" in done.out
    assert verbs(engine.asked) == ["dlq.replay"]


def test_filters_select_for_a_bulk_replay(site: Path) -> None:
    with stand_in(site, dlq__replay=replayed) as engine:
        here("dlq", "replay", "--channel", "adt", "--dest", "lab", "--type", "ADT^A01", "--limit", "9",
                 "--as", "stored", "--allow-older", "--dry-run", "--site", str(site))  # fmt: skip
    assert engine.asked == [
        {"verb": "dlq.replay", "channel": "adt", "dest": "lab", "type": "ADT^A01", "limit": 9,
         "as": "stored", "allow_older": True, "dry_run": True}
    ]  # fmt: skip


def test_discard_settles_what_was_shown(site: Path) -> None:
    def discarded(request: dict) -> dict:
        return DISCARD if request["dry_run"] else DISCARD | {"dry_run": False, "discarded": 2}

    with stand_in(site, dlq__discard=discarded) as engine:
        done = here("dlq", "discard", "--group", "1", "--yes", "--reason", "x", "--site", str(site))
    assert done.code == 0
    assert "2 of 2 dead letters discarded" in done.out
    assert engine.asked[1] == {
        "verb": "dlq.discard",
        "letters": ["3:5", "3:6"],
        "reason": "x",
        "dry_run": False,
    }


def test_the_help_of_replay_explains_the_four_words() -> None:
    out = here("dlq", "replay", "--help").out
    for word in ("stored", "reprocess", "edited", "older"):
        assert f"  {word} " in out


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_doctor_ends_with_1_only_when_a_check_fails(site: Path, level: str, code: int) -> None:
    with stand_in(site, doctor=[{"level": level, "check": "disk", "text": "2 GiB free"}]) as engine:
        done = here("doctor", "--check", "disk", "--site", str(site))
    assert done.code == code
    assert done.out.split() == [{"fail": "FAIL"}.get(level, level), "disk", "2", "GiB", "free"]
    assert engine.asked == [{"verb": "doctor", "check": "disk"}]


def test_audit_verify_ends_with_1_when_the_chain_is_broken(site: Path) -> None:
    whole = {"ok": True, "records": 41208, "first_bad": None, "problem": ""}
    broken = {"ok": False, "records": 3, "first_bad": 4, "problem": "audit record 4 was changed"}
    with stand_in(site, audit__verify=whole):
        good = here("audit", "verify", "--site", str(site))
    with stand_in(site, audit__verify=broken):
        bad = here("audit", "verify", "--site", str(site))
    assert (good.code, good.out) == (0, "41,208 records, chain unbroken\n")
    assert (bad.code, bad.out) == (1, "BROKEN at record 4: audit record 4 was changed\n")


def test_channels_pause_and_resume(site: Path) -> None:
    answers = {"channels__pause": {"name": "adt", "state": "paused"},
               "channels__resume": {"name": "adt", "state": "running"}}  # fmt: skip
    with stand_in(site, **answers) as engine:
        paused = here("channels", "pause", "adt", "--reason", "RIS upgrade", "--site", str(site))
        resumed = here("channels", "resume", "adt", "-o", "json", "--site", str(site))
    assert paused.out == "adt paused\n"
    assert resumed.json() == {"name": "adt", "state": "running"}
    assert engine.asked == [
        {"verb": "channels.pause", "name": "adt", "reason": "RIS upgrade"},
        {"verb": "channels.resume", "name": "adt"},
    ]


def test_channels_list_shows_every_column(site: Path) -> None:
    row = {"name": "adt", "state": "paused", "note": "paused by dlee: RIS upgrade",
           "last_received": "2020-01-01T00:00:00.000Z", "received_last_hour": 1204, "waiting": 3,
           "oldest": None, "parked": 0, "held": 0, "dead": 2}  # fmt: skip
    with stand_in(site, channels__list=[row]):
        head, line = here("channels", "list", "--site", str(site)).out.splitlines()
        names = here("channels", "list", "-o", "name", "--site", str(site)).out
    assert head.split() == [
        "CHANNEL",
        "STATE",
        "LAST",
        "MESSAGE",
        "IN/1H",
        "WAITING",
        "OLDEST",
        "PARKED",
        "HELD",
        "DEAD",
        "NOTE",
    ]
    assert line.endswith("2  paused by dlee: RIS upgrade")
    assert "1,204" in line
    assert names == "adt\n"


def test_metrics_come_as_the_engine_gives_them(site: Path) -> None:
    with stand_in(site, metrics={"text": "# HELP a b\na 1\n"}):
        assert here("metrics", "--site", str(site)).out == "# HELP a b\na 1\n"


def test_keys_status_shows_no_key(site: Path) -> None:
    answer = {"kek_id": "0a1b2c3d", "kek": "/keys/kek", "keys": [
        {"key_id": 2, "purpose": "content", "kek_id": "0a1b2c3d", "created_at": "2026-11-21T11:00:00.000Z",
         "age_seconds": 7300.0, "seals": 12, "current": True}]}  # fmt: skip
    with stand_in(site, keys__status=answer):
        lines = here("keys", "status", "--site", str(site)).out.splitlines()
    assert lines[0] == "key-encryption key 0a1b2c3d  /keys/kek"
    assert lines[2].split() == ["2", "content", "0a1b2c3d", "2", "h", "12", "in", "use"]


def test_try_takes_a_stored_message_with_phi_and_a_reason(site: Path) -> None:
    from base64 import b64encode

    from cli.support import ADT

    answer = MESSAGE | {"raw_base64": b64encode(ADT).decode(), "size": len(ADT)}
    with stand_in(site, messages__show=answer) as engine:
        done = here("try", "adt", "17", "--phi", "--reason", "t", "-o", "json", "--site", str(site))
    assert done.code == 0, done.err
    assert done.json()["destinations"]["lab"]["changes"][0]["after"] == "QUILL"
    assert engine.asked == [{"verb": "messages.show", "id": "17", "phi": True, "reason": "t"}]
