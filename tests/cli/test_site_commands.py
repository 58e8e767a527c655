"""``check``, ``try``, ``keys init`` and ``serve`` as far as no engine runs."""

import json
import os
from pathlib import Path

import pytest

from cli.support import ADT, CHANNEL, SITE, here, write_site

BROKEN = CHANNEL.replace("types:", "typs:")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "site")


# --- where the site is ----------------------------------------------------------------------------


def test_the_site_is_the_current_directory_an_option_or_the_environment(
    site: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    current = here("check", cwd=site)
    option = here("check", "--site", str(site), cwd=other)
    environ = here("check", cwd=other, IFENGINE_SITE=str(site))
    assert current.code == option.code == environ.code == 0
    assert current.out == option.out == environ.out


@pytest.mark.parametrize(
    "args",
    [["check"], ["serve"], ["try", "adt", "x"], ["keys", "init"], ["channels", "list"], ["metrics"],
     ["send", "-", "--to", "adt-in"]],
)  # fmt: skip
def test_a_directory_without_a_site_is_wrong_usage_and_says_what_to_do(
    tmp_path: Path, args: list[str]
) -> None:
    done = here(*args, cwd=tmp_path, given=ADT)
    assert done.code == 2
    assert done.out == ""
    assert "ifengine.yaml" in done.err
    assert "IFENGINE_SITE" in done.err


# --- check ----------------------------------------------------------------------------------------


def test_check_shows_each_mistake_with_its_place_and_ends_with_1(site: Path) -> None:
    write_site(site, channel=BROKEN)
    done = here("check", "--site", str(site))
    assert done.code == 1
    lines = done.out.splitlines()
    first = lines[next(n for n, line in enumerate(lines) if ": error[" in line) :]
    assert first[0].startswith('channels/adt.yaml:4:1: error[E101]: "typs"')
    assert first[1].endswith("| typs: [ADT^A01, ADT^A08]")
    assert first[2].endswith("| ^")
    assert 'did you mean "types"?' in done.out
    assert first[-1].startswith("1 channel, 0 tables: ")
    assert "2 errors" in first[-1]


def test_check_as_json_is_one_document_of_the_fixed_shape(site: Path) -> None:
    good = here("check", "--site", str(site), "-o", "json")
    write_site(site, channel=BROKEN)
    bad = here("check", "--site", str(site), "-o", "json")
    assert (good.code, bad.code) == (0, 1)
    assert good.json()["ok"] is True
    assert set(bad.json()) == {"ok", "problems"}
    assert bad.json()["ok"] is False
    errors = [p for p in bad.json()["problems"] if p["severity"] == "error"]
    assert set(errors[0]) == {"file", "line", "column", "severity", "code", "message", "hint"}
    assert (errors[0]["file"], errors[0]["line"], errors[0]["column"], errors[0]["code"]) == (
        "channels/adt.yaml", 4, 1, "E101",
    )  # fmt: skip


def test_warnings_end_with_1_only_when_strict(site: Path) -> None:
    assert "warning[W201]" in here("check", "--site", str(site)).out
    assert here("check", "--site", str(site), "--strict").code == 1


def test_check_of_a_file_shows_its_problems_alone_and_finds_its_site(
    site: Path, tmp_path: Path
) -> None:
    (site / "channels" / "worse.yaml").write_text("ifengine: 1\nchannel: worse\nfrom: nowhere\n")
    one = here("check", str(site / "channels" / "adt.yaml"), cwd=tmp_path)
    both = here("check", str(site), cwd=tmp_path)
    assert one.code == 0
    assert "worse.yaml" not in one.out
    assert both.code == 1
    assert "channels/worse.yaml" in both.out
    assert here("check", "nothing.yaml", "--site", str(site)).code == 2


def test_check_speaks_sarif_and_github(site: Path) -> None:
    write_site(site, channel=BROKEN)
    sarif = here("check", "--site", str(site), "-o", "sarif")
    run = sarif.json()["runs"][0]
    assert sarif.json()["version"] == "2.1.0"
    assert {r["ruleId"] for r in run["results"]} <= {
        r["id"] for r in run["tool"]["driver"]["rules"]
    }
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "channels/adt.yaml"
    github = here("check", "--site", str(site), "-o", "github")
    assert "\n::error file=channels/adt.yaml,line=4,col=1,title=E101::" in github.out
    assert len(github.out.splitlines()) == len(run["results"])
    assert (sarif.code, github.code) == (1, 1)


# --- try ------------------------------------------------------------------------------------------


def test_try_prints_what_would_be_sent_and_each_change_with_its_step(site: Path) -> None:
    done = here("try", "adt", "samples/adt_a01.hl7", "--site", str(site))
    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0].split("  ")[0] == "accepted: type ADT^A01, MSH-11 = P"
    assert lines[0].endswith("answer to sender: AA")
    assert lines[1].split() == ["lab", "would", "be", "sent", "to", "lab-out"]
    assert lines[2].split() == ["~", "PID-5.1", "Quill", "->", "QUILL", "step", "1", "upper"]
    assert lines[-1] == "nothing was sent or stored"
    assert not (site / "var").exists()


def test_try_as_json_has_the_fixed_shape(site: Path) -> None:
    done = here("try", "adt", "-", "--site", str(site), "-o", "json", given=ADT)
    answer = done.json()
    assert answer["accepted"] is True
    assert answer["ack"] == "AA"
    assert set(answer["destinations"]) == {"lab"}
    lab = answer["destinations"]["lab"]
    assert lab["state"] == "sent"
    assert lab["message"] == ADT.decode().replace("Quill", "QUILL")
    assert lab["changes"] == [
        {"path": "PID-5.1", "before": "Quill", "after": "QUILL", "step": "step 1 upper"}
    ]


@pytest.mark.parametrize(
    ("old", "new", "ack", "told"),
    [
        (b"ADT^A01^ADT_A01", b"ORU^R01^ORU_R01", "AA", "type ORU^R01 is not among"),
        (b"|P|2.5.1", b"|T|2.5.1", "AR", "processing id not accepted (ADT^A01, MSH-11 = T)"),
        (b"|C1|", b"||", "AE", "no_control_id"),
        (b"ADT^A01^ADT_A01", b"ACK^A01^ACK", None, "an acknowledgment"),
        (b"|2.5.1\r", b"|2.5.1|||NE|NE\r", None, None),
        (b"|2.5.1\r", b"|2.5.1|||AL|NE\r", "CA", None),
    ],
)
def test_try_says_what_the_sender_would_be_answered(
    site: Path, old: bytes, new: bytes, ack: str | None, told: str | None
) -> None:
    done = here(
        "try", "adt", "-", "--site", str(site), "-o", "json", given=ADT.replace(old, new, 1)
    )
    answer = done.json()
    assert answer["ack"] == ack
    assert answer["accepted"] is (told is None)
    assert done.code == (0 if told is None else 1)
    if told is not None:
        assert told in answer["text"]


def test_try_shows_dead_letters_drops_and_filters_with_their_full_reason(site: Path) -> None:
    (site / "channels" / "tables").mkdir()
    (site / "channels" / "tables" / "ward.csv").write_text("from,to\n3N,N3\n")
    steps = """\
    steps:
      - lookup: {table: ward, from: PV1-3.1, missing: dead_letter}
  gone:
    files: {dir: out, name: "${msg.id}.hl7"}
    steps:
      - drop: not wanted there
  closed:
    files: {dir: out2, name: "${msg.id}.hl7"}
    accept: PV1-2 = O
"""
    write_site(site, channel=CHANNEL + steps)
    done = here("try", "adt", "adt_a01", "--site", str(site))
    assert done.code == 1, done.err
    assert 'to the dead letters at lab step 1 lookup: ward has no entry for "4W"' in done.out
    assert "dropped at gone step 1 drop: not wanted there" in done.out
    assert "closed" in done.out
    assert "filtered: closed accept, channels/adt.yaml:" in done.out
    only = here("try", "adt", "adt_a01", "--to", "gone", "--site", str(site), "-o", "json")
    assert only.code == 0
    assert {n: d["state"] for n, d in only.json()["destinations"].items()} == {"gone": "dropped"}
    steps_shown = here("try", "adt", "adt_a01", "--steps", "--site", str(site))
    assert "step 1 upper, line" in steps_shown.out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nothere", "adt_a01"], "no channel nothere"),
        (["adt", "adt_a01", "--to", "ris"], "it has lab"),
        (["adt", "missing.hl7"], "no such file"),
        (["adt", "17"], "--phi --reason"),
    ],
)
def test_try_used_wrongly_ends_with_2(site: Path, args: list[str], told: str) -> None:
    done = here("try", *args, "--site", str(site))
    assert done.code == 2
    assert told in done.err


# --- keys init ------------------------------------------------------------------------------------


def test_keys_init_makes_a_private_key_once(site: Path) -> None:
    os.umask(0o022)
    made = here("keys", "init", "--site", str(site), "-o", "json")
    path = site / "var" / "keys" / "kek"
    assert made.code == 0
    assert made.json()["kek"] == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    before = path.read_bytes()
    again = here("keys", "init", "--site", str(site))
    assert again.code == 4
    assert path.read_bytes() == before
    secret = before.split(b"\n")[1].decode()
    assert secret not in made.out + made.err + again.out + again.err


def test_keys_init_needs_no_correct_channel_and_honours_the_overlay(site: Path) -> None:
    write_site(site, channel=BROKEN)
    (site / "env").mkdir()
    (site / "env" / "prod.yaml").write_text('keys: {kek: "file:elsewhere/kek"}\n')
    assert here("keys", "init", "--site", str(site), "--env", "prod").code == 0
    assert (site / "elsewhere" / "kek").is_file()
    assert not (site / "var").exists()


def test_a_placeholder_in_the_key_s_place_is_filled(site: Path, tmp_path: Path) -> None:
    write_site(site, site=SITE + 'keys: {kek: "file:${env:KEK_DIR}/kek"}\n')
    place = tmp_path / "safe"
    assert here("keys", "init", "--site", str(site), KEK_DIR=str(place)).code == 0
    assert (place / "kek").is_file()


# --- serve, as far as it does not start -----------------------------------------------------------


def test_serve_without_a_key_says_how_to_make_one(site: Path) -> None:
    done = here("serve", "--site", str(site))
    assert done.code == 1
    assert "ifengine keys init" in done.err
    assert "ready" not in done.err.splitlines()


def test_serve_refuses_a_site_with_errors_and_shows_them(site: Path) -> None:
    write_site(site, channel=BROKEN)
    done = here("serve", "--site", str(site))
    assert done.code == 1
    assert "error[E101]" in done.err
    assert done.out == ""


def test_a_missing_environment_value_is_a_warning_of_check_and_an_error_of_serve(
    site: Path,
) -> None:
    write_site(site, site=SITE.replace("host: 127.0.0.1", 'host: "${env:LAB_HOST}"'))
    here("keys", "init", "--site", str(site))
    assert here("check", "--site", str(site)).code == 0
    assert here("check", "--site", str(site), "--strict").code == 1
    refused = here("serve", "--check-only", "--site", str(site))
    assert refused.code == 1
    assert "LAB_HOST" in refused.err
    assert here("serve", "--check-only", "--site", str(site), LAB_HOST="127.0.0.1").code == 0


def test_serve_refuses_what_it_could_not_deliver(site: Path) -> None:
    fhir = "  fhir: {fhir: {url: 'http://127.0.0.1', map: lab-us-core}}\n"
    channel = (site / "channels" / "adt.yaml").read_text()
    channel = channel.replace("\nto:\n", f"\nto:\n{fhir}")
    (site / "channels" / "adt.yaml").write_text(channel)
    here("keys", "init", "--site", str(site))
    assert here("check", "--site", str(site)).code == 0
    refused = here("serve", "--check-only", "--site", str(site))
    assert refused.code == 1
    assert "FHIR" in refused.err
    (site / "channels" / "adt.yaml").write_text(
        channel.replace("{fhir: {url", "{enabled: no, fhir: {url")
    )
    assert here("serve", "--check-only", "--site", str(site)).code == 0


def test_serve_check_only_starts_nothing(site: Path) -> None:
    here("keys", "init", "--site", str(site))
    done = here("serve", "--check-only", "--site", str(site))
    assert done.code == 0
    assert "nothing was started" in done.err
    assert not (site / "var" / "store").exists()


def test_a_channel_with_an_error_does_not_hide_the_engine(site: Path) -> None:
    write_site(site, channel=BROKEN)
    done = here("channels", "list", "--site", str(site))
    assert done.code == 3
    assert "ifengine serve" in done.err


def test_json_is_one_document_also_where_nothing_is_wrong(site: Path) -> None:
    for args in (["check"], ["version"], ["try", "adt", "adt_a01"]):
        json.loads(here(*args, "-o", "json", "--site", str(site)).out)
