"""Commands for people who write channels: init, schema, graph, fmt, explain, config, and check's forms."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from cli.support import CHANNEL, SITE, here, ifengine, write_site
from ifengine.clock import MICROSECONDS, SystemClock
from ifengine.routes.config.explain_codes import CODES
from ifengine.routes.config.loading import load_site
from ifengine.transforms.table_of_steps import NOT_YET, STEPS
from ports import free_port

MERGED = SITE + "facts: {order: {for: 90d}}\nsecrets: [dir:secrets]\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "site")


# --- init -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", ["adt", "lab", "batch"])
def test_a_new_site_passes_check_and_its_own_tests(example: str, tmp_path: Path) -> None:
    folder = tmp_path / "St. Mary's 2"
    made = here("init", str(folder), "--example", example)
    assert made.code == 0, made.err
    assert "ifengine check" in made.err
    loaded = load_site(folder, environ={})
    assert loaded.problems == ()
    assert loaded.site is not None
    assert loaded.site.site == "st-mary-s-2"
    tested = here("test", "--site", str(folder))
    assert tested.code == 0, tested.out
    assert re.search(r"^[1-9] tests?, [1-9] passed", tested.out, re.MULTILINE)
    assert "var/" in (folder / ".gitignore").read_text()


def test_every_file_of_a_new_site_names_its_schema_and_is_as_fmt_writes_it(tmp_path: Path) -> None:
    here("init", str(tmp_path / "new"))
    written = here("schema", "--write", "--site", str(tmp_path / "new"))
    assert "every file names its schema" in written.err
    assert here("fmt", "--check", "--site", str(tmp_path / "new")).code == 0


def test_init_never_writes_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "channels").mkdir()
    (tmp_path / "channels" / "adt.yaml").write_text("mine")
    refused = here("init", str(tmp_path))
    assert refused.code == 4
    assert "adt.yaml exists" in refused.err
    assert (tmp_path / "channels" / "adt.yaml").read_text() == "mine"
    assert not (tmp_path / "ifengine.yaml").exists()


# --- schema ---------------------------------------------------------------------------------------


def test_schema_prints_one_and_writes_both(site: Path) -> None:
    assert "order_by" in here("schema", "channel").json()["properties"]
    assert "connections" in here("schema", "site").json()["properties"]
    assert here("schema").code == 2
    done = here("schema", "--write", "--site", str(site))
    assert done.code == 0
    for name in ("channel", "site"):
        file = site / ".ifengine" / f"{name}.schema.json"
        assert json.loads(file.read_text()) == here("schema", name).json()
    assert "adt.yaml: its first line does not name the schema" in done.err
    assert "# yaml-language-server: $schema=../.ifengine/channel.schema.json" in done.err


def test_schema_is_written_into_a_site_only(tmp_path: Path) -> None:
    assert here("schema", "--write", "--site", str(tmp_path)).code == 2
    assert list(tmp_path.iterdir()) == []


# --- graph ----------------------------------------------------------------------------------------


def test_graph_draws_the_site_in_each_form(site: Path) -> None:
    plain = here("graph", "--site", str(site))
    assert plain.out == "adt-in ──▶ adt ──▶ lab ──▶ lab-out\n"
    for form, begins in (("svg", "<svg "), ("mermaid", "flowchart LR"), ("dot", "digraph")):
        drawn = here("graph", "adt", "-o", form, "--site", str(site))
        assert drawn.code == 0
        assert drawn.out.startswith(begins)
        assert drawn.out == here("graph", "adt", "-o", form, "--site", str(site)).out
    unknown = here("graph", "adt-fanout", "--site", str(site))
    assert unknown.code == 2
    assert "there is adt" in unknown.err


# --- fmt ------------------------------------------------------------------------------------------

CROOKED = CHANNEL.replace("  - upper: PID-5.1\n", "-   upper: PID-5.1  \n")


def test_fmt_changes_crooked_files_only_and_says_which(site: Path) -> None:
    file = site / "channels" / "adt.yaml"
    file.write_text(CROOKED)
    file.chmod(0o640)
    checked = here("fmt", "--check", "--site", str(site))
    assert (checked.code, checked.out) == (1, "would change channels/adt.yaml\n")
    assert file.read_text() == CROOKED
    done = here("fmt", "--site", str(site))
    assert (done.code, done.out) == (0, "changed channels/adt.yaml\n")
    assert file.read_text() == CHANNEL
    assert file.stat().st_mode & 0o777 == 0o640
    assert here("fmt", "--check", "adt.yaml", "--site", str(site)).code == 0
    assert sorted(path.name for path in file.parent.iterdir()) == ["adt.yaml", "samples"]


def test_fmt_leaves_a_file_with_problems_alone_and_goes_on(site: Path) -> None:
    broken = CROOKED + "\tx: y\n"
    (site / "channels" / "broken.yaml").write_text(broken)
    (site / "channels" / "adt.yaml").write_text(CROOKED)
    done = here("fmt", "--site", str(site))
    assert done.code == 1
    assert "channels/broken.yaml" in done.err
    assert "error[E001]" in done.err
    assert (site / "channels" / "broken.yaml").read_text() == broken
    assert (site / "channels" / "adt.yaml").read_text() == CHANNEL


def test_fmt_suggests_square_brackets_for_an_index(site: Path) -> None:
    (site / "channels" / "adt.yaml").write_text(CHANNEL.replace("PID-3.1", "PID-3(2).1"))
    done = here("fmt", "--site", str(site))
    assert (done.code, done.out) == (0, "")
    assert "channels/adt.yaml:6:12: PID-3(2) may be written PID-3[2]" in done.err


# --- explain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained(code: str) -> None:
    done = here("explain", code.lower())
    assert done.code == 0
    assert CODES[code] in done.out


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.verb)
def test_every_step_is_explained_with_its_example_and_its_mistake(row: Any) -> None:
    done = here("explain", "step", row.verb)
    assert done.code == 0
    shown = [line.strip() for line in done.out.splitlines()]
    assert f"- {row.example}".splitlines()[0] in shown
    assert row.parameters in done.out
    if row.failing:
        assert re.search(r"(error|warning)\[[EW]\d{3}\]: ", done.out)


@pytest.mark.parametrize(("verb", "meant"), [("use", "field"), ("python", "transform")])
def test_the_usual_mistake_in_a_file_beside_is_a_word_and_not_the_file(
    verb: str, meant: str
) -> None:
    assert f'did you mean "{meant}"?' in here("explain", "step", verb).out


def test_a_step_of_a_later_release_a_key_and_an_unknown_word_are_answered() -> None:
    for verb in NOT_YET[:1]:
        assert "does not have yet" in here("explain", verb).out
    key = here("explain", "order_by").out
    assert "a key of a channel file" in key
    assert "Messages with the same value never overtake each other." in key
    retry = here("explain", "retry").out
    assert "unreachable" in retry
    unknown = here("explain", "order-by")
    assert unknown.code == 2
    assert "did you mean order_by" in unknown.err
    assert here("explain", "step", "order_by").code == 2
    assert here("explain", "one", "two", "three").code == 2


def test_a_word_of_two_meanings_is_explained_twice_and_a_kind_picks_one(site: Path) -> None:
    # `default` is a step; a channel may be called so too
    write_site(site)
    text = CHANNEL.replace("channel: adt", "channel: default").replace(
        "ADT^A01, ADT^A08", "ADT^A02"
    )
    (site / "channels" / "default.yaml").write_text(text)
    both = here("explain", "default", "--site", str(site)).out
    assert "default is a step" in both
    assert "Messages come from adt-in" in both
    assert "is a step" not in here("explain", "channel", "default", "--site", str(site)).out


def test_a_channel_is_told_in_sentences(site: Path) -> None:
    text = CHANNEL + (
        "    accept: PV1-2 = I\n    order: strict\n    retry: {refused: 5, unreachable: 72h}\n"
        "    steps:\n      - choose:\n          - when: PID-8 = M\n            do: [{clear: PID-19}]\n"
        "        otherwise: [{drop: nobody}]\n      - {for_each: NK1, trim: NK1-2}\n"
        "  off:\n    enabled: no\n    files: {dir: out, name: '${msg.id}.hl7'}\n"
        "expect: {every: 90s}\naccept: MSH-4 = ELM\n"
    )
    write_site(site, channel=text)
    done = here("explain", "adt", "--site", str(site))
    assert done.code == 0, done.err
    for said in (
        "Messages come from adt-in, which listens on 127.0.0.1:2575.",
        "It takes ADT^A01, ADT^A08.",
        "Of these only messages with MSH-4 = ELM;",
        "It leaves out identity events: this test has no merges.",
        "Messages with the same PID-3.1 never overtake each other.",
        "  1. upper PID-5.1  (",
        "To lab: over the connection lab-out at 127.0.0.1:6661.",
        "  It gets messages with PV1-2 = I.",
        "       where PID-8 = M:",
        "         1.1.1. clear PID-19",
        "         1.2.1. drop nobody",
        "    2. for each NK1: trim NK1-2",
        "  Order: the first message that is not settled holds back all others.",
        "until 5 refusals or 10 attempts without an answer or 3 d without a connection make",
        "  Answered AE or CE goes to the dead letters; AR or CR is tried again.",
        "To off: a file for each message in",
        "  It is switched off: nothing is planned for it.",
        "A message that no destination accepts is filtered.",
        "No message for 90 s raises the alarm of a silent channel.",
        "It has 0 tests.",
    ):
        assert said in done.out, said


def test_a_segment_and_a_field_are_explained_by_the_standard() -> None:
    field = here("explain", "PID-8")
    assert field.code == 0, field.err
    assert "Administrative Sex" in field.out
    segment = here("explain", "PID")
    assert "Patient Identification" in segment.out
    wrong = here("explain", "PID-8.0")
    assert wrong.code == 2


# --- config ---------------------------------------------------------------------------------------


def test_config_show_merges_the_overlay_and_names_where_each_value_stands(site: Path) -> None:
    (site / "ifengine.yaml").write_text(MERGED)
    (site / "env").mkdir()
    (site / "env" / "prod.yaml").write_text(
        'environment: production\nconnections:\n  lab-out: {host: "${env:LAB}", port: null}\n'
    )
    plain = here("config", "show", "--env", "prod", "--site", str(site))
    assert plain.code == 0
    assert "environment: production\n" in plain.out
    assert '    host: "${env:LAB}"\n' in plain.out
    assert "6661" not in plain.out
    assert "#" not in plain.out
    shown = here("config", "show", "--env", "prod", "--origin", "--site", str(site)).out
    assert re.search(r"^environment: production +# env/prod\.yaml:1$", shown, re.MULTILINE)
    assert re.search(r'^ +host: "\$\{env:LAB\}" +# env/prod\.yaml:3$', shown, re.MULTILINE)
    assert re.search(r"^secrets: \[dir:secrets\] +# ifengine\.yaml:8$", shown, re.MULTILINE)
    listed = here("config", "show", "--env", "prod", "--site", str(site), "-o", "json").json()
    host = next(row for row in listed if row["path"] == "connections.lab-out.host")
    assert (host["file"], host["line"]) == ("env/prod.yaml", 3)


def test_what_config_show_prints_is_a_site_file_again(site: Path, tmp_path: Path) -> None:
    (site / "ifengine.yaml").write_text(MERGED)
    again = write_site(tmp_path / "again", site=here("config", "show", "--site", str(site)).out)
    before, after = (load_site(folder, environ={}).site for folder in (site, again))
    assert before is not None
    assert after is not None
    assert (after.listeners.keys(), after.senders.keys()) == (
        before.listeners.keys(), before.senders.keys()
    )  # fmt: skip
    assert here("config", "diff", str(site), str(again)).code == 0


def test_config_show_never_prints_a_secret(site: Path, tmp_path: Path) -> None:
    secrets = site / "secrets"
    secrets.mkdir()
    (secrets / "port").write_text("64999")
    (site / "ifengine.yaml").write_text(MERGED.replace("port: 6661", "port: '${secret:port}'"))
    assert load_site(site, environ={}).site is not None
    for form in ("yaml", "json"):
        done = here("config", "show", "--origin", "-o", form, "--site", str(site))
        assert done.code == 0
        assert "64999" not in done.out + done.err
        assert "${secret:port}" in done.out


def test_config_diff_tells_what_two_sites_say_differently(site: Path, tmp_path: Path) -> None:
    other = write_site(
        tmp_path / "other",
        site=SITE.replace("6661", "6662"),
        channel=CHANNEL.replace("  - upper: PID-5.1\n", "  - trim: PID-5.1\n  - upper: PID-5.1\n")
        .replace("channel: adt", "channel:   'adt'  # quotes and comments say nothing")
        .replace("order_by: [PID-3.1]\n", ""),
    )
    for folder, rows in ((site, "from,to\na,b\n"), (other, "from,to\na,c\nd,e\n")):
        (folder / "channels" / "tables").mkdir()
        (folder / "channels" / "tables" / "ward.csv").write_text(rows)
    done = here("config", "diff", str(site), str(other))
    assert done.code == 1
    assert done.out.splitlines() == [
        "~ connections.lab-out.port: 6661 -> 6662  # ifengine.yaml:6",
        "- channels.adt.order_by: [PID-3.1]  # channels/adt.yaml:6",
        "+ channels.adt.steps[1]: {trim: PID-5.1}  # channels/adt.yaml:7",
        "~ channels/tables/ward.csv: 1 row gone -> 2 rows new",
    ]
    assert here("config", "diff", str(site), str(site)).code == 0
    rows = here("config", "diff", str(other), "--site", str(site), "-o", "json").json()
    assert {row["path"] for row in rows} >= {"connections.lab-out.port", "channels.adt.order_by"}


def test_config_diff_compares_two_overlays_of_one_site(site: Path) -> None:
    (site / "env").mkdir()
    (site / "env" / "test.yaml").write_text("connections: {lab-out: {host: lab.test}}\n")
    (site / "env" / "prod.yaml").write_text("connections: {lab-out: {host: lab.live}}\n")
    two = here("config", "diff", "--env", "test", "--env", "prod", "--site", str(site))
    assert two.out == "~ connections.lab-out.host: lab.test -> lab.live  # env/prod.yaml:1\n"
    one = here("config", "diff", "--env", "prod", "--site", str(site))
    assert one.out == "~ connections.lab-out.host: 127.0.0.1 -> lab.live  # env/prod.yaml:1\n"
    assert here("config", "diff", "--site", str(site)).code == 2
    assert here("config", "diff", "--env", "../x", "--site", str(site)).code == 2


# --- check: forms for programs --------------------------------------------------------------------

BROKEN = CHANNEL.replace("  - upper: PID-5.1\n", "  - uper: PID-5.1\n")


def test_sarif_has_what_its_standard_requires(site: Path) -> None:
    write_site(site, channel=BROKEN)
    (site / "channels" / "a b%.yaml").write_text("a: [\n")
    done = here("check", "-o", "sarif", "--site", str(site))
    assert done.code == 1
    log = done.json()
    assert (log["version"], log["$schema"].endswith("sarif-2.1.0.json")) == ("2.1.0", True)
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "ifengine"
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    rules = {rule["id"]: rule["shortDescription"]["text"] for rule in driver["rules"]}
    assert rules["E101"] == CODES["E101"]
    assert run["results"]
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["ruleId"] in rules
        place = result["locations"][0]["physicalLocation"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", place["artifactLocation"]["uri"])
        assert place["region"]["startLine"] >= 1
        assert place["region"]["startColumn"] >= 1
    uris = {
        r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]
    }
    assert "channels/a%20b%25.yaml" in uris


def test_warnings_end_with_1_only_when_asked(site: Path) -> None:
    assert here("check", "--site", str(site)).code == 0
    assert here("check", "--strict", "--site", str(site)).code == 1


def test_watch_checks_again_when_a_file_changes_and_ends_at_ctrl_c(site: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "ifengine", "check", "--watch", "--site", str(site)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        killer = threading.Timer(30, running.kill)
        killer.start()
        try:
            assert running.stderr.readline().startswith("watching")
            write_site(site, channel=BROKEN)
            assert running.stderr.readline().startswith("watching")
            running.send_signal(signal.SIGINT)
            out, err = running.communicate()
        finally:
            killer.cancel()
    assert running.returncode == 130, err
    # warnings first, then the mistake that came in while it watched
    assert "error[E101]" not in out.partition("1 warning\n")[0]
    assert "error[E101]" in out


def test_watch_and_online_go_with_the_forms_that_can_hold_them(site: Path) -> None:
    assert here("check", "--watch", "-o", "json", "--site", str(site)).code == 2
    assert here("check", "--online", "-o", "sarif", "--site", str(site)).code == 2


# --- check --online -------------------------------------------------------------------------------


class Receiver:
    """A receiver that keeps what it is sent; with a context it speaks TLS."""

    def __init__(self, context: Any = None) -> None:
        self.received = b""
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                link, _ = self._socket.accept()
            except OSError:
                return
            try:
                if self._context is not None:
                    link = self._context.wrap_socket(link, server_side=True)
                while part := link.recv(1000):
                    self.received += part
            except OSError:
                pass  # the client did not like us, or just went
            finally:
                link.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@contextmanager
def receiver(context: Any = None) -> Iterator[Receiver]:
    running = Receiver(context)
    try:
        yield running
    finally:
        running.close()


def online(site: Path, text: str) -> tuple[int, dict[str, tuple[str, str]]]:
    write_site(site, site=text)
    done = here("check", "--online", "-o", "json", "--site", str(site))
    seen = {row["name"]: (row["level"], row["text"]) for row in done.json()["online"]}
    return done.code, seen


def test_online_connects_to_receivers_and_sends_nothing(site: Path) -> None:
    with receiver() as lab:
        text = SITE.replace("6661", str(lab.port)).replace("2575", str(free_port()))
        code, seen = online(site, text)
        assert code == 0
        assert seen["adt-in"] == ("ok", "free to listen, plaintext")
        level, told = seen["lab-out"]
        assert (level, told.startswith("connected "), told.endswith("plaintext")) == (
            "ok", True, True
        )  # fmt: skip
    assert lab.received == b""


def test_online_tells_a_refused_connection_and_a_port_in_use(site: Path) -> None:
    with receiver() as taken:
        text = SITE.replace("6661", str(free_port())).replace("2575", str(taken.port))
        code, seen = online(site, text)
    assert code == 1
    assert seen["lab-out"] == ("fail", "refused")
    assert seen["adt-in"][0] == "fail"
    assert seen["adt-in"][1].startswith("cannot listen: ")


def test_a_port_in_use_by_the_site_s_own_engine_is_no_problem(site: Path) -> None:
    (site / "var").mkdir()
    with receiver() as taken, socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(site / "var" / "admin.sock"))
        engine.listen()
        text = SITE.replace("6661", str(taken.port)).replace("2575", str(taken.port))
        code, seen = online(site, text)
    assert (code, seen["adt-in"][0]) == (0, "ok")
    assert "in use by this engine" in seen["adt-in"][1]


TLS_SITE = """\
ifengine: 1
site: elm
connections:
  adt-in: {{listen: mllp, port: {listen}, tls: hospital}}
  lab-out: {{send: mllp, host: 127.0.0.1, port: {send}, tls: {tls}}}
tls:
  hospital: {{cert: own.pem, key: own.key, ca: ca.pem, server_name: lab.example}}
  pinned: {{pinned: "{pin}", ca: ca.pem}}
"""


@pytest.fixture
def authority(site: Path) -> tuple[trustme.CA, trustme.LeafCert, int]:
    """An authority, the site's own certificate, and the days it still has."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(site / "ca.pem"))
    now = datetime.fromtimestamp(SystemClock().now_us() / MICROSECONDS, UTC)
    own = ca.issue_cert("lab.example", not_after=now + timedelta(days=100, hours=12))
    own.cert_chain_pems[0].write_to_path(str(site / "own.pem"))
    own.private_key_pem.write_to_path(str(site / "own.key"))
    return ca, own, 100


def server_context(certificate: trustme.LeafCert) -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def test_online_makes_the_tls_handshake_and_tells_how_long_certificates_last(
    site: Path, authority: tuple[trustme.CA, trustme.LeafCert, int]
) -> None:
    _, own, days = authority
    with receiver(server_context(own)) as lab:
        text = TLS_SITE.format(listen=free_port(), send=lab.port, tls="hospital", pin="ab" * 32)
        code, seen = online(site, text)
        assert code == 0
        ends = f"its certificate ends in {days} days"
        assert re.fullmatch(rf"connected \d+ ms, TLS 1\.\d, {ends}", seen["lab-out"][1])
        assert seen["adt-in"] == ("ok", f"free to listen, {ends}")
        other = TLS_SITE.format(listen=free_port(), send=lab.port, tls="pinned", pin="ab" * 32)
        code, seen = online(site, other)
        assert (code, seen["lab-out"]) == (
            1, ("fail", "the certificate is not one of the pinned ones")
        )  # fmt: skip
    assert lab.received == b""


def test_online_tells_a_certificate_of_somebody_else_and_a_receiver_without_tls(
    site: Path, authority: tuple[trustme.CA, trustme.LeafCert, int]
) -> None:
    stranger = trustme.CA().issue_cert("lab.example")
    with receiver(server_context(stranger)) as lab:
        text = TLS_SITE.format(listen=free_port(), send=lab.port, tls="hospital", pin="ab" * 32)
        code, seen = online(site, text)
    assert code == 1
    assert seen["lab-out"][1].startswith("the certificate is not trusted")


def test_a_site_with_errors_is_not_connected_anywhere(site: Path) -> None:
    write_site(site, channel=BROKEN)
    done = here("check", "--online", "--site", str(site))
    assert done.code == 1
    assert "not connected anywhere" in done.err


def test_the_new_commands_answer_help_without_a_site(tmp_path: Path) -> None:
    for command in ("init", "schema", "graph", "fmt", "explain", "config", "check"):
        assert here(command, "--help", cwd=tmp_path).code == 0
    assert ifengine("explain", "E110", cwd=tmp_path).code == 0
