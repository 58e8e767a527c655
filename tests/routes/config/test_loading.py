"""What a good site becomes: defaults, overlays, placeholders, digest, order."""

from pathlib import Path

import pytest

from ifengine.routes.config.explain_codes import CODES
from ifengine.routes.config.loading import load_site
from ifengine.routes.config.models import NakReaction, Order, TypePattern

REPOSITORY = Path(__file__).parents[3]
SHARED = REPOSITORY / ".." / "shared" / "examples" / "site"


def codes(loaded) -> list[str]:
    return [p.code for p in loaded.problems]


def test_the_small_site_of_these_tests_has_no_problem_and_the_built_in_defaults(
    load, tmp_path
) -> None:
    loaded = load()
    assert loaded.problems == ()
    assert loaded.can_run
    assert (loaded.channel_count, loaded.table_count) == (1, 0)
    site = loaded.site
    assert site.store_path == tmp_path / "var/store"
    assert site.admin_socket == tmp_path / "var/admin.sock"
    assert site.kek == f"file:{tmp_path / 'var/keys/kek'}"
    assert (site.metrics_host, site.metrics_port) == ("127.0.0.1", 9464)
    assert site.reserve_bytes == 2 * 1024**3
    assert site.keep_audit_seconds == 7 * 365.25 * 86400
    listener = site.listeners["in"]
    assert (listener.host, listener.port, listener.max_message_bytes) == (
        "127.0.0.1",
        2575,
        16 * 1024**2,
    )
    assert (listener.unknown_types, listener.processing_missing) == ("accept", "P")
    (channel,) = site.channels
    assert (channel.name, channel.sources, channel.order_by) == ("one", ("in",), "patient")
    assert channel.accept_processing == {"P"}
    assert channel.types == (TypePattern(code="ORU", event="R01"),)
    (lab,) = channel.destinations
    assert (lab.order, lab.lanes, lab.settle, lab.on_in_doubt) == (
        Order.HOLD_KEY,
        1,
        "batched",
        "resend",
    )
    assert lab.retry.refused == 3
    assert lab.retry.unreachable_seconds is None
    assert lab.on_nak["AE"] is NakReaction.DEAD_LETTER
    assert channel.file == "channels/one.yaml"
    assert lab.line == 7


def test_everything_that_can_be_written_arrives_in_the_models(load, tmp_path) -> None:
    loaded = load(
        {
            "ifengine.yaml": """\
ifengine: 1
site: big
about: all keys
environment: test
listen: {admin: "unix:run/a.sock", metrics: "[::1]:9999"}
store: {path: /srv/store, reserve: 1GiB}
keep: {messages: 10d, dead_letters: 1y, audit: 2y}
keys: {kek: "file:/etc/kek"}
identity: {patient: {path: PID-3, type: MR, authority: [A, B]}}
secrets: []
defaults:
  retry: {first: 1s, factor: 3, max: 1m, jitter: 0.5, unreachable: 72h, refused: 5, in_doubt: never}
  on_nak: {AE: retry}
tls:
  hospital: {cert: c.pem, key: k.pem, ca: ca.pem, client: required, minimum: "1.3"}
  pin: {pinned: ["%s"], server_name: lab.example}
connections:
  in: {listen: mllp, host: 10.1.2.3, port: 2575, tls: hospital, allow: [10.20.0.0/16, 10.1.1.1],
       max_message: 1MiB, max_unfinished: 9MiB, max_connections: 5, max_connections_per_address: 2,
       idle_timeout: 5m, frame_timeout: 500ms, tolerate: [], unknown_types: reject, processing_missing: refuse,
       versions: ["2.3", 2.5.1], ignore: [MSH-7], charset: 8859/1, charset_forced: UNICODE UTF-8}
  out: {send: mllp, host: lab.example, port: 6661, tls: pin, ack_timeout: 7s, connect_timeout: 2s}
"""
            % ("ab" * 32),
            "c.pem": "",
            "k.pem": "",
            "ca.pem": "",
            "channels/one.yaml": """\
ifengine: 1
channel: one
about: a channel
owner: me
enabled: on
from: in
types: [MDM^T02, ORU^*]
accept: MSH-11 in [P, T] and MSH-4 = A
accept_processing: [P, T]
order_by: [MSH-4, PID-3.1]
dedupe: {window: 2d, on_reuse: dead_letter}
no_match: dead_letter
expect: {every: 15m, between: 06:00-22:00}
steps:
  - upper: PID-5.1
to:
  lab:
    about: the lab
    connection: out
    types: ORU^R01
    accept: PV1-2 = I
    steps: [{trim: PID-5}]
    retry: {first: 2s, refused: never}
    on_nak: {AR: stop}
    on_in_doubt: hold
    order: skip_dead
    lanes: 4
    settle: strict
    ack_timeout: 9s
  files:
    enabled: no
    files: {dir: var/out, name: "${msg.id}.hl7"}
tests: [{name: it, given: "MSH|^~\\\\&|"}]
""",
        }
    )
    assert codes(loaded) == []
    site = loaded.site
    assert (site.environment, site.about, site.kek) == ("test", "all keys", "file:/etc/kek")
    assert (site.admin_socket, site.store_path) == (tmp_path / "run/a.sock", Path("/srv/store"))
    assert (site.metrics_host, site.metrics_port) == ("::1", 9999)
    assert (site.keep_messages_seconds, site.keep_dead_letters_seconds) == (864000, 365.25 * 86400)
    listener, sender = site.listeners["in"], site.senders["out"]
    assert listener.tls.cert == tmp_path / "c.pem"
    assert (listener.tls.client, listener.tls.minimum) == ("required", "1.3")
    assert listener.allow == ("10.20.0.0/16", "10.1.1.1/32")
    assert (listener.max_message_bytes, listener.max_unfinished_bytes) == (1024**2, 9 * 1024**2)
    assert (listener.max_connections, listener.max_connections_per_address) == (5, 2)
    assert (listener.idle_timeout_seconds, listener.frame_timeout_seconds) == (300, 0.5)
    assert listener.tolerate == frozenset()
    assert (listener.unknown_types, listener.processing_missing) == ("reject", "refuse")
    assert listener.versions == ("2.3", "2.5.1")
    assert listener.guard_ignore_msh7
    assert (listener.charset_default, listener.charset_forced) == ("8859/1", "UNICODE UTF-8")
    assert (sender.ack_timeout_seconds, sender.connect_timeout_seconds) == (7, 2)
    assert sender.tls.pinned == (b"\xab" * 32,)
    assert sender.tls.server_name == "lab.example"
    (channel,) = site.channels
    assert channel.accept_names_processing_id
    assert channel.accept_line == 8
    assert channel.accept_processing == {"P", "T"}
    assert [path.text for path in channel.order_by] == ["MSH-4", "PID-3.1"]
    assert (channel.dedupe_window_seconds, channel.dedupe_on_reuse) == (172800, "dead_letter")
    assert (channel.no_match, channel.expect_every_seconds) == ("dead_letter", 900)
    assert not channel.steps.is_empty
    lab, files = channel.destinations
    assert (lab.retry.first_seconds, lab.retry.factor, lab.retry.refused) == (2, 3, None)
    assert (lab.retry.unreachable_seconds, lab.retry.in_doubt) == (259200, None)
    assert (lab.on_nak["AE"], lab.on_nak["AR"]) == (NakReaction.RETRY, NakReaction.STOP)
    assert (lab.order, lab.lanes, lab.settle) == (Order.SKIP_DEAD, 4, "strict")
    assert (lab.on_in_doubt, lab.ack_timeout_seconds) == ("hold", 9)
    assert files.files.directory == tmp_path / "var/out"
    assert not files.enabled


def test_the_example_site_has_nothing_wrong_with_it() -> None:
    loaded = load_site(REPOSITORY, environ={})
    assert loaded.problems == ()
    told = {
        channel.name: [d.name for d in channel.destinations] for channel in loaded.site.channels
    }
    assert told == {
        "adt-fanout": ["lab", "pharmacy"],
        "identity-and-waiting": ["registry", "ehr"],
        "lab-results": ["ehr", "fhir"],
        "radiology-orders": ["ris"],
        "regional-batch": ["north", "south", "research"],
    }
    off = [
        d.name for channel in loaded.site.channels for d in channel.destinations if not d.enabled
    ]
    assert off == ["fhir"]
    assert loaded.site.listeners["epic-adt"].port == 2575


def test_the_language_s_own_examples_load() -> None:
    if not SHARED.is_dir():
        pytest.skip("../shared is not there")
    loaded = load_site(SHARED, environ={})
    assert [p for p in loaded.problems if p.severity == "error"] == []
    assert set(codes(loaded)) <= {"W190", "W202", "W219"}
    assert loaded.site is not None


@pytest.mark.parametrize(
    ("types", "order_by", "order"),
    [
        ("[ADT^A01]\nignore_types: {identity: none come}", "patient", Order.HOLD_KEY),
        ("[ORM^O01]", "patient", Order.HOLD_KEY),
        ("[OMG^O19]", "patient", Order.HOLD_KEY),
        ("[MDM^T02, SIU^S12]", "patient", Order.HOLD_KEY),
        ("['*']", "patient", Order.HOLD_KEY),
        ("[MDM^T02]", "patient", Order.SKIP_DEAD),
        ("[ORU^R01]", None, Order.SKIP_DEAD),
    ],
)
def test_an_order_that_is_not_said_follows_the_types_and_order_by(
    load, channel_text, types, order_by, order
) -> None:
    text = channel_text.replace("[ORU^R01]", types)
    if order_by is None:
        text = text.replace("order_by: patient\n", "")
    loaded = load({"channels/one.yaml": text})
    assert loaded.site.channels[0].destinations[0].order is order


def test_a_missing_site_file_is_a_problem_not_an_error(load) -> None:
    loaded = load({"ifengine.yaml": None})
    assert codes(loaded) == ["E004"]
    assert loaded.problems[0].position.file == "ifengine.yaml"
    assert loaded.site is None


def test_a_directory_that_is_not_there_is_a_problem(tmp_path) -> None:
    assert "E004" in codes(load_site(tmp_path / "nowhere", environ={}))


def test_a_byte_order_mark_and_windows_line_ends_are_fine(load, channel_text) -> None:
    loaded = load(
        {"channels/one.yaml": b"\xef\xbb\xbf" + channel_text.replace("\n", "\r\n").encode()}
    )
    assert loaded.problems == ()


def test_a_file_that_is_not_utf8_is_named_with_its_line(load) -> None:
    loaded = load({"channels/one.yaml": b"ifengine: 1\nabout: caf\xe9\n"})
    assert [(p.code, p.position.line) for p in loaded.problems] == [("E004", 2)]


def test_anchors_under_shared_are_used_and_merged_where_they_are_named(load) -> None:
    loaded = load(
        {
            "channels/one.yaml": """\
ifengine: 1
channel: one
shared:
  slow: &slow {first: 30s, max: 15m, refused: 7}
  ehr: &ehr {connection: out, retry: *slow, on_in_doubt: hold}
from: in
types: [ORU^R01]
order_by: patient
to:
  lab: {<<: *ehr, on_in_doubt: resend}
  again: *ehr
tests: [{name: it, given: {sample: oru}}]
"""
        }
    )
    assert codes(loaded) == []
    lab, again = loaded.site.channels[0].destinations
    assert (lab.retry.refused, lab.on_in_doubt) == (7, "resend")
    assert (again.retry.first_seconds, again.on_in_doubt) == (30, "hold")


# --- environments ---------------------------------------------------------------------------


def test_an_environment_merges_maps_replaces_lists_and_removes_by_null(load, site_text) -> None:
    text = site_text.replace(
        "in: {listen: mllp,", "in: {listen: mllp, allow: [10.0.0.0/8], idle_timeout: 5m,"
    )
    over = """\
connections:
  in: {port: 3575, allow: [192.168.0.0/16, 172.16.0.0/12], idle_timeout: null}
  out: {host: prod.example}
  spare: {send: mllp, host: spare.example, port: 1, plaintext: a test}
environment: test
enabled: {one: no}
"""
    loaded = load({"ifengine.yaml": text, "env/prod.yaml": over}, env="prod")
    assert codes(loaded) == ["W224"]  # no enabled channel
    site = loaded.site
    listener = site.listeners["in"]
    assert (listener.port, listener.allow) == (3575, ("192.168.0.0/16", "172.16.0.0/12"))
    assert listener.idle_timeout_seconds == 3600
    assert listener.plaintext == "a test"
    assert set(site.senders) == {"out", "spare"}
    assert site.senders["out"].host == "prod.example"
    assert site.environment == "test"
    assert not site.channels[0].enabled


def test_a_mistake_in_an_environment_is_shown_in_its_own_file(load) -> None:
    loaded = load({"env/prod.yaml": "connections:\n  out: {port: x}\n"}, env="prod")
    assert [tuple(p.position) for p in loaded.problems] == [("env/prod.yaml", 2, 15)]


def test_an_environment_that_is_not_there_or_no_name_is_a_problem(load) -> None:
    assert codes(load(env="prod")) == ["E004"]
    assert codes(load(env="../../etc/passwd")) == ["E004"]


def test_an_environment_file_is_only_read_when_it_is_named(load) -> None:
    assert load({"env/prod.yaml": "steps: []\n"}).problems == ()


# --- placeholders ---------------------------------------------------------------------------

PLACES = """\
ifengine: 1
site: small
identity: {patient: {path: PID-3, type: MR, authority: [A]}}
secrets: [systemd, dir:secrets]
connections:
  in: {listen: mllp, port: "${env:PORT:-2575}", plaintext: "${file:why.txt}"}
  out: {send: mllp, host: "${env:LIS_HOST}", port: 6661, plaintext: "${secret:why}"}
"""


def test_placeholders_are_filled_as_text_from_environment_files_and_secrets(load, tmp_path) -> None:
    files = {"ifengine.yaml": PLACES, "why.txt": "a: [b\n", "secrets/why": "from the folder\n"}
    loaded = load(files, environ={"LIS_HOST": "lis.example"})
    assert codes(loaded) == []
    assert loaded.can_run
    assert loaded.site.listeners["in"].port == 2575
    # what would be YAML stays text
    assert loaded.site.listeners["in"].plaintext == "a: [b"
    assert loaded.site.senders["out"].host == "lis.example"
    assert loaded.site.senders["out"].plaintext == "from the folder"
    (tmp_path / "cred").mkdir()
    (tmp_path / "cred" / "why").write_text("from systemd")
    environ = {"LIS_HOST": "x", "PORT": "99", "CREDENTIALS_DIRECTORY": str(tmp_path / "cred")}
    site = load(files, environ=environ).site
    assert site.senders["out"].plaintext == "from systemd"
    assert site.listeners["in"].port == 99


def test_what_cannot_be_filled_is_a_warning_that_serve_refuses(load) -> None:
    loaded = load({"ifengine.yaml": PLACES})
    assert codes(loaded) == ["W230", "W230", "W230"]
    assert len(loaded.unfilled) == 3
    assert loaded.site is not None
    assert not loaded.can_run


def test_no_filled_value_is_ever_shown(load, tmp_path) -> None:
    canary = "S3CR3T-CANARY"
    site = (
        PLACES.replace("6661", '"${secret:port}"')
        .replace("out:", "out:")
        .replace("send: mllp", 'send: "${secret:kind}"')
    )
    loaded = load(
        {
            "ifengine.yaml": site
            + 'environment: "${env:WHERE}"\nstore: {reserve: "${secret:port}"}\n',
            "why.txt": canary,
            "secrets/why": canary,
            "secrets/port": canary,
            "secrets/kind": canary,
        },
        environ={"LIS_HOST": f"{canary}://", "PORT": canary, "WHERE": canary},
    )
    assert len([p for p in loaded.problems if p.severity == "error"]) >= 5
    assert canary not in repr(loaded.problems)
    assert canary not in repr(loaded)


def test_keys_and_certificates_stay_files_wherever_they_come_from(load, tmp_path) -> None:
    site = """\
ifengine: 1
site: small
identity: {patient: {path: PID-3, type: MR, authority: [A]}}
secrets: dir:secrets
tls:
  hospital: {cert: "${file:certs/c.pem}", key: "${secret:engine-key}", ca: "${env:CA}"}
connections:
  in: {listen: mllp, port: 2575, tls: hospital}
  out: {send: mllp, host: h, port: 6661, tls: hospital}
"""
    files = {"ifengine.yaml": site, "certs/c.pem": "x", "secrets/engine-key": "x", "ca.pem": "x"}
    tls = load(files, environ={"CA": "ca.pem"}).site.listeners["in"].tls
    assert tls.cert == tmp_path / "certs/c.pem"
    assert tls.key == tmp_path / "secrets/engine-key"
    assert tls.ca == tmp_path / "ca.pem"


# --- digest -----------------------------------------------------------------------------------


def test_the_digest_changes_with_every_file_that_counts_and_with_no_other(
    load, channel_text
) -> None:
    first = load().site.digest
    assert len(first) == 64
    assert load().site.digest == first
    assert load({"channels/one.yaml": channel_text + "# a comment\n"}).site.digest != first
    assert load({"channels/samples/other.hl7": "MSH|"}).site.digest == load().site.digest
    before = load({"channels/tables/t.csv": "from,to\n1,2\n"}).site.digest
    assert load({"channels/tables/t.csv": "from,to\n1,3\n"}).site.digest != before
    over = {"env/prod.yaml": "environment: test\n"}
    assert load(over, env="prod").site.digest != load(over).site.digest


def test_a_file_that_moves_bytes_to_its_neighbour_changes_the_digest(load) -> None:
    one = load(
        {"channels/tables/a.csv": "from,to\n1,2\n", "channels/tables/b.csv": "from,to\n3,4\n"}
    )
    two = load(
        {"channels/tables/a.csv": "from,to\n3,4\n", "channels/tables/b.csv": "from,to\n1,2\n"}
    )
    assert one.site.digest != two.site.digest


# --- what is not a mistake ---------------------------------------------------------------------


def test_identity_events_taken_by_a_neighbour_of_the_same_connection_are_not_lost(
    load, channel_text
) -> None:
    adt = channel_text.replace("[ORU^R01]", "[ADT^A01]")
    names = ", ".join(f"ADT^A{n}" for n in (18, 24, 30, 34, 35, 36, 37, *range(39, 48), 49, 50, 51))
    merges = channel_text.replace("channel: one", "channel: two").replace("[ORU^R01]", f"[{names}]")
    assert "E209" in codes(load({"channels/one.yaml": adt}))
    assert "E209" not in codes(load({"channels/one.yaml": adt, "channels/two.yaml": merges}))


def test_a_branch_that_names_identity_events_answers_the_warning(load, channel_text) -> None:
    names = ", ".join(f"A{n}" for n in (18, 24, 30, 34, 35, 36, 37, *range(39, 48), 49, 50, 51))
    text = channel_text.replace("[ORU^R01]", "[ADT^*]")
    assert codes(load({"channels/one.yaml": text})) == ["W209"]
    steps = f"steps:\n  - when: MSH-9.2 in [{names}]\n    fail: a person merges\n"
    assert codes(load({"channels/one.yaml": text + steps})) == []


def test_a_merge_that_always_acts_handles_the_events_it_knows(load, channel_text) -> None:
    text = channel_text.replace("[ORU^R01]", "[ADT^*]")
    steps = "steps:\n  - merge_patient: {keep: PID-3, retire: MRG-1}\n"
    (warning,) = load({"channels/one.yaml": text + steps}).problems
    assert (warning.code, warning.message.rpartition(": ")[2]) == ("W209", "A24, A37")


def test_who_is_one_patient_is_read_with_its_defaults(load, site_text) -> None:
    said = "authority: [A], authority_default: A, type_default: MR"
    one = load({"ifengine.yaml": site_text.replace("authority: [A]", said)}).site
    assert one is not None
    assert one.identity is not None
    assert (one.identity.authority_default, one.identity.type_default) == ("A", "MR")


def test_a_channel_that_is_off_takes_no_types_from_its_neighbour(load, channel_text) -> None:
    other = channel_text.replace("channel: one", "channel: two\nenabled: no")
    assert codes(load({"channels/two.yaml": other})) == []


def test_a_filter_with_a_condition_is_left_to_the_analyst(load, channel_text) -> None:
    text = channel_text.replace("[ORU^R01]", "[VXU^V04]")
    always = "steps: [{delete_segments: PID}]\n"
    sometimes = "steps: [{when: MSH-4 = X, delete_segments: PID}]\n"
    assert "E232" in codes(load({"channels/one.yaml": text + always}))
    assert "E232" not in codes(load({"channels/one.yaml": text + sometimes}))


def test_a_choice_on_in_doubt_is_asked_for_orders_and_charges_only(load, channel_text) -> None:
    for types, asks in [
        ("[ORM^O01]", True), ("[OML^O21]", True), ("[RDE^O11]", True), ("[DFT^P03]", True),
        ("[BAR^P01]", True), ("[ORU^R01]", False), ("[SIU^S12]", False),
    ]:  # fmt: skip
        text = channel_text.replace("[ORU^R01]", types)
        assert ("W208" in codes(load({"channels/one.yaml": text}))) is asks
        said = text.replace("connection: out", "connection: out, on_in_doubt: resend")
        assert "W208" not in codes(load({"channels/one.yaml": said}))


def test_files_named_by_patient_variables_or_tables_are_refused(load, channel_text) -> None:
    for name in ("${PID-5.1}", "${x}", "${PV1-19 | upper}", "${OBR-3.1}"):
        text = channel_text.replace(
            "connection: out", f'files: {{dir: o, name: "${{msg.id}}{name}"}}'
        )
        assert "E215" in codes(load({"channels/one.yaml": text})), name
    for name in ("${MSH-10}", "${now | date('YYYYMMDD')}", "${MSH-4 | upper}"):
        text = channel_text.replace(
            "connection: out", f'files: {{dir: o, name: "${{msg.id}}{name}"}}'
        )
        assert codes(load({"channels/one.yaml": text})) == [], name


def test_a_variable_of_the_channel_s_steps_is_known_to_its_destinations_and_to_nothing_before(
    load, channel_text
) -> None:
    lets = 'steps: [{let: {ward: "${PV1-3.1}"}}]\n'
    uses = 'connection: out, accept: $ward = W4, steps: [{set: {MSH-6: "${ward}"}}]'
    text = channel_text.replace("connection: out", uses)
    assert codes(load({"channels/one.yaml": text + lets})) == []
    assert codes(load({"channels/one.yaml": text})) == ["E302", "E302"]
    early = channel_text + lets + "accept: $ward = W4\n"
    assert codes(load({"channels/one.yaml": early})) == ["E302"]


def test_the_shape_of_tests_is_checked_and_a_good_one_passes(load, channel_text) -> None:
    good = """\
tests:
  - name: the first
    given: {sample: oru, change: {PV1-2: O, "PID-3[2]": null}, remove: [NK1], append: "NTE|1||x"}
    answer: {lab: AE}
    expect: {ack: AA, ack_text: no, unmatched: {state: dead_letter, count: 1}, lab: sent}
  - name: the second
    fact: {order: P900}
    sequence:
      - given: |
          MSH|^~\\&|
        expect: {lab: parked}
      - after: 31m
        expect:
          lab: {state: sent, count: 2, fields: {PID-5.1: DOE}, absent: [NK1], segments: [MSH],
                contains: a, not_contains: [b, c], reason: x, same_as: golden/x.hl7, ignore: [MSH-7]}
"""
    head = channel_text[: channel_text.index("tests:")]
    assert codes(load({"channels/one.yaml": head + good})) == []
    bad = good.replace("lab: AE", "lab: maybe").replace("count: 2", "count: two")
    bad = bad.replace("after: 31m", "after: soon").replace("PV1-2: O", "PV1.2: O")
    assert codes(load({"channels/one.yaml": head + bad})) == ["E110", "E103", "E104", "E104"]


def test_every_code_has_a_sentence() -> None:
    assert all(text.endswith(".") and len(text) > 15 for text in CODES.values())
