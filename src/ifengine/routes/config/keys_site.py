"""Every key of the site file: one row each; those of connections stand in keys_connection."""

from typing import Final

from ifengine.routes.config.keys_common import (
    DURATION,
    FILE,
    NAME,
    ON_NAK,
    RETRY,
    TEXT,
    WORD,
    YES_NO,
)
from ifengine.routes.config.keys_connection import LIMITS, TLS
from ifengine.routes.config.kinds import ListOf, MapOf, OneOf, PathKind, Raw, Scalar
from ifengine.routes.config.scalars import HostPort, parse_host_port, parse_size, parse_unix
from ifengine.routes.config.sections import Key, NamedSections, SectionKind, Status

ENVIRONMENTS: Final = ("production", "test")


DEFAULTS: Final = (
    Key(
        name="retry",
        kind=SectionKind(RETRY),
        meaning="For destinations that say nothing else.",
        example="{max: 5m}",
    ),
    Key(name="on_nak", kind=ON_NAK, meaning="What a negative answer does.", example="{AR: retry}"),
)

LISTEN: Final = (
    Key(
        name="admin",
        kind=Scalar("a Unix socket", parse_unix, "unfilled.sock"),
        default="unix:var/admin.sock",
        meaning="Where the command line talks to the engine.",
        example="unix:var/admin.sock",
    ),
    Key(
        name="metrics",
        kind=Scalar("HOST:PORT", parse_host_port, HostPort("127.0.0.1", 0)),
        default="127.0.0.1:9464",
        meaning="Metrics and health, plain HTTP, nothing about patients.",
        example="127.0.0.1:9464",
    ),
    Key(
        name="web",
        kind=Scalar("HOST:PORT", parse_host_port, HostPort("127.0.0.1", 0)),
        meaning="The web interface.",
        example="127.0.0.1:8443",
        status=Status.NOTED,
    ),
)

STORE: Final = (
    Key(
        name="path",
        kind=FILE,
        default="var/store",
        meaning="Folder of the store.",
        example="var/store",
    ),
    Key(
        name="reserve",
        kind=Scalar("a size", parse_size, 0),
        default="2GiB",
        meaning="Below this much free disk nothing is read from senders; delivery goes on.",
        example="2GiB",
    ),
    Key(
        name="ballast",
        kind=Scalar("a size", parse_size, 0),
        default="256MiB, or the reserve where that is less",
        meaning="Room that is held, and given up when the disk is full, so that delivery can go on.",
        example="256MiB",
    ),
    Key(
        name="suspect",
        kind=FILE,
        default="store.suspect beside the admin socket",
        meaning="Marker that the storage failed: on another disk than the store.",
        example="/run/ifengine/store.suspect",
    ),
)

KEEP: Final = (
    Key(name="messages", kind=DURATION, default="30d", meaning="Settled messages.", example="30d"),
    Key(
        name="dead_letters", kind=DURATION, default="180d", meaning="Dead letters.", example="180d"
    ),
    Key(name="audit", kind=DURATION, default="7y", meaning="Audit records.", example="7y"),
)

PATIENT: Final = (
    Key(
        name="path",
        kind=PathKind(),
        meaning="Where identifiers stand.",
        example="PID-3",
        required=True,
    ),
    Key(
        name="type",
        kind=WORD,
        meaning="Component 5 of the one that counts.",
        example="MR",
        required=True,
    ),
    Key(
        name="authority",
        kind=ListOf(WORD),
        meaning="Component 4, its namespace.",
        example="[MERCY]",
        required=True,
    ),
    Key(
        name="authority_default",
        kind=WORD,
        meaning="The authority of an identifier that names none; without it, nobody's.",
        example="MERCY",
    ),
    Key(
        name="type_default",
        kind=WORD,
        meaning="The type of an identifier that names none; without it, nobody's.",
        example="MR",
    ),
)

IDENTITY: Final = (
    Key(
        name="patient",
        kind=SectionKind(PATIENT),
        meaning="Who is one patient, for order_by: patient.",
        example="{path: PID-3, type: MR, authority: [MERCY]}",
        required=True,
    ),
)

FACT: Final = (
    Key(
        name="for",
        kind=DURATION,
        meaning="How long it is remembered.",
        example="90d",
        required=True,
    ),
)

DOCUMENTS: Final = (
    Key(name="dir", kind=FILE, meaning="Folder.", example="var/documents", required=True),
    Key(name="encrypt", kind=YES_NO, default="yes", meaning="Sealed on disk.", example="yes"),
)

SITE: Final = (
    Key(
        name="ifengine",
        kind=OneOf(("1",)),
        meaning="Version of the language.",
        example="1",
        required=True,
    ),
    Key(name="site", kind=NAME, meaning="Name of the site.", example="mercy", required=True),
    Key(name="about", kind=TEXT, meaning="What it is for.", example="Production, main campus"),
    Key(
        name="environment",
        kind=OneOf(ENVIRONMENTS),
        default="production",
        meaning="What kind of site this is.",
        example="test",
    ),
    Key(
        name="listen",
        kind=SectionKind(LISTEN),
        meaning="Where the engine itself listens.",
        example="{metrics: 127.0.0.1:9464}",
    ),
    Key(
        name="store",
        kind=SectionKind(STORE),
        meaning="Where messages are kept.",
        example="{path: var/store}",
    ),
    Key(name="keep", kind=SectionKind(KEEP), meaning="How long.", example="{messages: 30d}"),
    Key(
        name="secrets",
        kind=ListOf(WORD, least=0),
        default="[systemd]",
        meaning="Where ${secret:NAME} is looked up, in this order: systemd, dir:PATH, sealed "
        "(`ifengine secrets set`). Keys of certificates are files: systemd or dir.",
        example="[systemd, dir:/run/secrets, sealed]",
    ),
    Key(
        name="connections",
        kind=Raw("a map of names to connections"),
        meaning="Hosts, ports and TLS under names that channels use.",
        example="{lis-adt: {send: mllp, host: lis.example, port: 6661, tls: hospital}}",
    ),
    Key(
        name="tls",
        kind=NamedSections(NAME, TLS, "a map of names to certificates"),
        meaning="Certificates under names that connections use.",
        example="{hospital: {ca: certs/ca.pem}}",
    ),
    Key(
        name="identity",
        kind=SectionKind(IDENTITY),
        meaning="Who is one patient.",
        example="{patient: {path: PID-3, type: MR, authority: [MERCY]}}",
    ),
    Key(
        name="facts",
        kind=NamedSections(NAME, FACT, "a map of names to how long they last"),
        meaning="Facts shared by channels; any other belongs to the channel that remembers it.",
        example="{order: {for: 90d}}",
    ),
    Key(
        name="keys",
        kind=SectionKind(
            (
                Key(
                    name="kek",
                    kind=WORD,
                    default="file:var/keys/kek",
                    meaning="Key-encryption key.",
                    example="file:var/keys/kek",
                ),
            )
        ),
        meaning="What seals the store; made by `ifengine keys init`.",
        example='{kek: "file:var/keys/kek"}',
    ),
    Key(
        name="defaults",
        kind=SectionKind(DEFAULTS),
        meaning="For every destination.",
        example="{retry: {max: 5m}}",
    ),
    Key(
        name="documents",
        kind=NamedSections(NAME, DOCUMENTS, "a map of names to folders"),
        meaning="Where extracted documents go.",
        example="{documents: {dir: var/documents}}",
    ),
    Key(
        name="enabled",
        kind=MapOf(NAME, YES_NO, "a map of channels to yes or no"),
        meaning="Switches channels off and on; meant for env/*.yaml.",
        example="{adt-fanout: no}",
    ),
    Key(
        name="shared",
        kind=Raw("anything"),
        meaning="Anchors for use below.",
        example="{retry: &slow {first: 30s}}",
    ),
    Key(
        name="vars",
        kind=MapOf(NAME, TEXT, "a map of names to texts"),
        meaning="Texts that channels use as ${vars.NAME}; an environment may change them.",
        example="{facility: MERCY}",
    ),
    Key(
        name="reload",
        kind=OneOf(("manual", "auto")),
        default="manual",
        meaning="auto: files that changed and then rested for 2 s are checked, tested and taken.",
        example="auto",
    ),
    Key(
        name="python",
        kind=YES_NO,
        default="on",
        meaning="Whether channels may have python steps, run by worker processes.",
        example="off",
    ),
    Key(
        name="limits",
        kind=SectionKind(LIMITS),
        meaning="For every connection that listens and says nothing else.",
        example="{max_message: 20MiB, max_connections: 128}",
    ),
)
