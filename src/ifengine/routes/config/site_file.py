"""The site file's nodes to connections, certificates and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from ifengine.hl7.charset import find_codec
from ifengine.routes.config.filled import FilledText, shorten
from ifengine.routes.config.keys_common import NAME
from ifengine.routes.config.keys_connection import (
    DEFAULT_TOLERANCES,
    LISTEN_CONNECTION,
    SEND_CONNECTION,
)
from ifengine.routes.config.keys_site import SITE
from ifengine.routes.config.kinds import BAD, nearest, not_yet
from ifengine.routes.config.models import (
    DEFAULT_ON_NAK,
    DocumentsConfig,
    ListenConnection,
    NakReaction,
    RetryConfig,
    SendConnection,
    TlsConfig,
)
from ifengine.routes.config.sections import Key, Section, read_section
from ifengine.transforms.identity import PatientIdentity
from ifengine.transforms.source import Entries, Position, Problems, Text

LATER_KEKS: Final = ("systemd", "pkcs11", "vault", "tpm")


@dataclass(slots=True)
class SiteDraft:
    """The site as far as it could be read; ``section`` holds every good value."""

    section: Section
    directory: Path
    listeners: dict[str, ListenConnection] = field(default_factory=dict)
    senders: dict[str, SendConnection] = field(default_factory=dict)
    places: dict[str, Position] = field(default_factory=dict)  # of every connection, good or bad
    connections: dict[str, Section] = field(default_factory=dict)
    identity: PatientIdentity | None = None
    says_identity: bool = False
    retry: RetryConfig = field(default_factory=RetryConfig)
    on_nak: Mapping[str, NakReaction] = field(default_factory=lambda: DEFAULT_ON_NAK)
    tls: dict[str, tuple[TlsConfig, Section]] = field(default_factory=dict)
    enabled: dict[str, tuple[bool, Text]] = field(default_factory=dict)
    kek: str = ""
    vars: dict[str, Text] = field(default_factory=dict)  # by name, as written
    facts: dict[str, float] = field(default_factory=dict)  # seconds a shared fact lasts
    documents: dict[str, DocumentsConfig] = field(default_factory=dict)
    document_names: frozenset[str] | None = None  # as written, good or bad; None: not readable


def read_site(node: Entries, directory: Path, problems: Problems) -> SiteDraft:
    """Read the merged and filled nodes of a site."""
    section = read_section(SITE, node, problems)
    draft = SiteDraft(section, directory)
    facts: dict[str, Section] = section.get("facts", {})
    draft.facts = {name: fact.get("for", 0.0) for name, fact in facts.items()}
    draft.documents = _documents(section, directory)
    draft.document_names = _document_names(section)
    draft.identity, draft.says_identity = _identity(section, problems)
    defaults = section.get("defaults")
    if defaults is not None:
        draft.retry = retry_from(defaults.get("retry"), RetryConfig(), problems)
        draft.on_nak = on_nak_from(defaults.get("on_nak"), DEFAULT_ON_NAK)
    draft.enabled = section.get("enabled", {})
    written = section.nodes.get("vars")
    entries = written.entries if isinstance(written, Entries) else ()
    draft.vars = {key.value: value for key, value in entries if isinstance(value, Text)}
    draft.kek = _kek(section, directory, problems)
    _check_sources(section, problems)
    draft.tls = _tls_configs(section, directory, problems)
    _read_connections(section, draft, problems)
    return draft


def retry_from(section: Section | None, base: RetryConfig, problems: Problems) -> RetryConfig:
    """Return the retry settings with a destination's own over the site's."""
    if section is None:
        return base
    named = {
        "first": "first_seconds",
        "factor": "factor",
        "max": "max_seconds",
        "jitter": "jitter",
        "unreachable": "unreachable_seconds",
        "refused": "refused",
        "in_doubt": "in_doubt",
    }
    said: dict[str, Any] = {named[key]: value for key, value in section.values.items()}
    retry = replace(base, **said)
    if retry.max_seconds < retry.first_seconds:
        if "first_seconds" in said and "max_seconds" not in said:
            return replace(retry, max_seconds=retry.first_seconds)
        problems.error(
            "E103",
            section.at("max"),
            '"max" is shorter than "first"',
            "no delay is longer than max",
        )
    return retry


def on_nak_from(
    said: Mapping[str, tuple[str, Text]] | None, base: Mapping[str, NakReaction]
) -> Mapping[str, NakReaction]:
    """Return the reactions with a destination's own over the site's."""
    own = {code: NakReaction(word) for code, (word, _) in (said or {}).items()}
    return {**base, **own}


def resolve(directory: Path, written: str) -> Path:
    """Return a path of the site file; relative ones start at the site's directory."""
    return directory / written


def _identity(section: Section, problems: Problems) -> tuple[PatientIdentity | None, bool]:
    says = section.says("identity")
    outer = section.get("identity")
    patient = None if outer is None else outer.get("patient")
    if patient is None:
        return None, says
    path = patient.get("path")
    if path is not None and path.text != "PID-3":
        problems.error(
            "E190",
            patient.at("path"),
            not_yet("path: other than PID-3"),
            "identifiers are read from PID-3 and from MRG-1",
        )
        return None, says
    if path is None or not patient.get("type") or not patient.get("authority"):
        return None, says
    authority = tuple(value for value, _ in patient.get("authority"))
    default = patient.get("authority_default", "")
    _check_defaults(patient, authority, problems)
    return (
        PatientIdentity(
            path=path,
            type=patient.get("type"),
            authority=authority,
            authority_default=default,
            type_default=patient.get("type_default", ""),
        ),
        says,
    )


def _check_defaults(patient: Section, authority: tuple[str, ...], problems: Problems) -> None:
    """A default stands for what senders leave out, so it is one of what counts."""
    for key, allowed in (
        ("authority_default", authority),
        ("type_default", (patient.get("type"),)),
    ):
        value = patient.get(key)
        if value is not None and value not in allowed:
            problems.error(
                "E103",
                patient.at(key),
                f'"{shorten(value)}" is not one of {", ".join(allowed)}',
                "identifiers of another kind are not the site's",
            )


def _documents(section: Section, directory: Path) -> dict[str, DocumentsConfig]:
    written: dict[str, Section] = section.get("documents", {})
    return {
        name: DocumentsConfig(
            name=name,
            directory=resolve(directory, inner.get("dir")),
            encrypt=inner.get("encrypt", True),
        )
        for name, inner in written.items()
        if inner.get("dir") is not None
    }


def _document_names(section: Section) -> frozenset[str] | None:
    node = section.nodes.get("documents")
    if node is None:
        return frozenset()
    return frozenset(key.value for key, _ in node) if isinstance(node, Entries) else None


def _kek(section: Section, directory: Path, problems: Problems) -> str:
    keys = section.get("keys")
    written: str = "file:var/keys/kek" if keys is None else keys.get("kek", "file:var/keys/kek")
    kind, colon, rest = written.partition(":")
    if keys is not None and (kind != "file" or not colon or not rest):
        hint = "as in file:var/keys/kek"
        if kind in LATER_KEKS:
            problems.error("E190", keys.at("kek"), not_yet(f"kek: {kind}:…"), hint)
        else:
            problems.error("E104", keys.at("kek"), '"kek" is not file:PATH', hint)
    return f"file:{resolve(directory, rest)}"


def _check_sources(section: Section, problems: Problems) -> None:
    for value, node in section.get("secrets", ()):
        if value in ("systemd", "sealed"):
            continue
        if value.startswith("dir:") and len(value) > len("dir:"):
            continue
        problems.error(
            "E103",
            node.position,
            f'"{shorten(value)}" is not one of systemd, dir:PATH, sealed',
            nearest(value, ["systemd", "sealed", "dir:"]),
        )


def _tls_configs(
    section: Section, directory: Path, problems: Problems
) -> dict[str, tuple[TlsConfig, Section]]:
    found: dict[str, tuple[TlsConfig, Section]] = {}
    for name, inner in section.get("tls", {}).items():
        files: dict[str, Path | None] = {"cert": None, "key": None, "ca": None}
        for key in files:
            written = inner.get(key)
            if written is None:
                continue
            files[key] = resolve(directory, written)
            node = inner.nodes[key]
            missing = isinstance(node, FilledText) and node.missing
            if not missing and not resolve(directory, written).is_file():
                problems.warning("W229", node.position, f'the file of "{key}" is not there')
        if (files["cert"] is None) != (files["key"] is None):
            lacks = "key" if files["key"] is None else "cert"
            problems.error(
                "E211", inner.position, f'"{name}" has no {lacks}', "cert and key go together"
            )
        config = TlsConfig(
            name=name,
            cert=files["cert"],
            key=files["key"],
            ca=files["ca"],
            client=inner.get("client", "none"),
            pinned=tuple(value for value, _ in inner.get("pinned", ())),
            server_name=inner.get("server_name"),
            minimum=inner.get("minimum", "1.2"),
        )
        found[name] = (config, inner)
    return found


def _read_connections(section: Section, draft: SiteDraft, problems: Problems) -> None:
    node = section.nodes.get("connections")
    if node is None:
        return
    if not isinstance(node, Entries):
        problems.error("E104", node.position, '"connections" takes a map of names to connections')
        return
    for name, body in node:
        draft.places[name.value] = name.position
        if NAME.read("connections", name, problems) is BAD:
            continue
        if not isinstance(body, Entries):
            problems.error("E104", body.position, f'"{name.value}" takes a map of keys')
            continue
        inner = _connection_section(name, body, problems)
        if inner is None:
            continue
        inner.position = name.position
        add_connection(name, inner, draft, problems, listens=inner.says("listen"))


def add_connection(
    name: Text, inner: Section, draft: SiteDraft, problems: Problems, *, listens: bool
) -> None:
    """Add what one connection says to the site; every mistake in it becomes a problem."""
    draft.places[name.value] = name.position
    draft.connections[name.value] = inner
    secured = _tls_of(name.value, inner, draft.tls, problems, listens=listens)
    if listens:
        limits: Section | None = draft.section.get("limits")
        draft.listeners[name.value] = _listener(name, inner, secured, limits, problems)
    else:
        draft.senders[name.value] = _sender(name, inner, secured)


def _connection_section(name: Text, body: Entries, problems: Problems) -> Section | None:
    listens, sends = body.get("listen") is not None, body.get("send") is not None
    if listens == sends:
        what = "both listen and send" if listens else "neither listen nor send"
        problems.error(
            "E102",
            name.position,
            f'"{name.value}" says {what}',
            "as in listen: mllp, or send: mllp",
        )
        if not listens:
            # the rest is still read, so that its mistakes show at once
            read_section((*LISTEN_CONNECTION[1:], *_only_in(SEND_CONNECTION)), body, problems)
        return None
    mine, other = (
        (LISTEN_CONNECTION, SEND_CONNECTION) if listens else (SEND_CONNECTION, LISTEN_CONNECTION)
    )
    names = {row.name for row in mine}
    foreign = {row.name for row in other} - names - {"listen", "send"}
    kept = []
    for key, value in body:
        if key.value in foreign:
            problems.error(
                "E101",
                key.position,
                f'"{key.value}" is not known here',
                f"it belongs to a connection that {'sends' if listens else 'listens'}",
            )
        else:
            kept.append((key, value))
    return read_section(mine, Entries(tuple(kept), body.position), problems)


def _only_in(rows: tuple[Key, ...]) -> tuple[Key, ...]:
    shared = {row.name for row in LISTEN_CONNECTION}
    return tuple(row for row in rows if row.name not in shared and not row.required)


def _tls_of(
    name: str,
    inner: Section,
    tls: dict[str, tuple[TlsConfig, Section]],
    problems: Problems,
    *,
    listens: bool,
) -> TlsConfig | None:
    if not inner.says("tls"):
        if not inner.says("plaintext"):
            problems.error(
                "E210",
                inner.position,
                f'"{name}" has no TLS and no reason for that',
                'write tls: NAME, or plaintext: "why"',
            )
        return None
    if inner.says("plaintext"):
        problems.error(
            "E211", inner.keys["plaintext"].position, f'"{name}" has both tls and plaintext'
        )
    wanted = inner.get("tls")
    if wanted is None:
        return None
    if wanted not in tls:
        problems.error(
            "E201", inner.at("tls"), f'no "{wanted}" under tls:', nearest(wanted, list(tls))
        )
        return None
    config, written = tls[wanted]
    if listens:
        if config.cert is None and not written.says("cert"):
            problems.error(
                "E211", inner.at("tls"), f'"{wanted}" has no cert, and a listener needs one'
            )
        if config.client != "none" and config.ca is None and not written.says("ca"):
            problems.error(
                "E211",
                written.at("client"),
                f'"{wanted}" asks senders for a certificate and names no ca',
            )
    return config


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


_LISTENER_KEYS = {
    "max_message": "max_message_bytes",
    "max_unfinished": "max_unfinished_bytes",
    "max_connections": "max_connections",
    "max_connections_per_address": "max_connections_per_address",
    "idle_timeout": "idle_timeout_seconds",
    "frame_timeout": "frame_timeout_seconds",
    "unknown_types": "unknown_types",
    "processing_missing": "processing_missing",
    "charset": "charset_default",
    "charset_forced": "charset_forced",
}


def _listener(
    name: Text,
    inner: Section,
    tls: TlsConfig | None,
    limits: Section | None,
    problems: Problems,
) -> ListenConnection:
    values = {**({} if limits is None else limits.values), **inner.values}
    said: dict[str, Any] = {to: values[key] for key, to in _LISTENER_KEYS.items() if key in values}
    for key in ("charset", "charset_forced"):
        written = inner.get(key)
        if written is not None and find_codec(written) is None:
            problems.error(
                "E103",
                inner.at(key),
                f'"{key}" names no character set of table 0211',
                "as in ASCII, 8859/1, UNICODE UTF-8",
            )
    host = inner.get("host", "127.0.0.1")
    allow = tuple(value for value, _ in inner.get("allow", ()))
    if inner.says("plaintext") and not allow and not inner.says("allow") and not is_loopback(host):
        problems.warning(
            "W212",
            inner.position,
            f'"{name.value}" listens in plaintext beyond this machine, for everybody',
            "write allow: [NETWORK]",
        )
    tolerate = DEFAULT_TOLERANCES
    if inner.says("tolerate"):
        tolerate = frozenset(value for value, _ in inner.get("tolerate", ()))
    return ListenConnection(
        name=name.value,
        host=host,
        port=inner.get("port", 0),
        tls=tls,
        plaintext=inner.get("plaintext"),
        allow=allow,
        versions=tuple(value for value, _ in inner.get("versions", ())),
        accept_mode=frozenset(value for value, _ in inner.get("accept_mode", ())),
        guard_ignore_msh7=bool(inner.get("ignore", ())),
        tolerate=tolerate,
        line=name.position.line,
        **said,
    )


def _sender(name: Text, inner: Section, tls: TlsConfig | None) -> SendConnection:
    return SendConnection(
        name=name.value,
        host=inner.get("host", "unfilled.invalid"),
        port=inner.get("port", 0),
        tls=tls,
        plaintext=inner.get("plaintext"),
        ack_timeout_seconds=inner.get("ack_timeout", 30.0),
        connect_timeout_seconds=inner.get("connect_timeout", 10.0),
        line=name.position.line,
    )
