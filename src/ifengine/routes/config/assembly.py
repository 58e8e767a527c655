"""Drafts without errors to the frozen models that the engine runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from ifengine.routes.config.channel_file import ChannelDraft, DestinationDraft
from ifengine.routes.config.checks_split import split_from
from ifengine.routes.config.models import (
    AckConfig,
    ApplicationAck,
    ChannelConfig,
    DestinationConfig,
    FollowConfig,
    SiteConfig,
)
from ifengine.routes.config.sections import Section
from ifengine.routes.config.site_file import SiteDraft, resolve
from ifengine.transforms.tables import Table


def build_site(
    draft: SiteDraft, channels: Sequence[ChannelDraft], tables: Mapping[str, Table], digest: str
) -> SiteConfig:
    """Return the site; the drafts must hold no error."""
    section, directory = draft.section, draft.directory
    said: dict[str, Any] = {}
    _take(
        section.get("keep"),
        said,
        {
            "messages": "keep_messages_seconds",
            "dead_letters": "keep_dead_letters_seconds",
            "audit": "keep_audit_seconds",
        },
    )
    _take(section.get("store"), said, {"reserve": "reserve_bytes", "ballast": "ballast_bytes"})
    _take(section, said, {"environment": "environment"})
    said["reload_auto"] = section.get("reload") == "auto"
    listen, store = section.get("listen"), section.get("store")
    metrics = None if listen is None else listen.get("metrics")
    if metrics is not None:
        said["metrics_host"], said["metrics_port"] = metrics
    admin = "var/admin.sock" if listen is None else listen.get("admin", "var/admin.sock")
    if store is not None and store.says("suspect"):
        said["suspect_path"] = resolve(directory, store.get("suspect"))
    return SiteConfig(
        directory=directory,
        site=section.get("site"),
        about=section.get("about", ""),
        admin_socket=resolve(directory, admin),
        store_path=resolve(
            directory, "var/store" if store is None else store.get("path", "var/store")
        ),
        kek=draft.kek,
        listeners=draft.listeners,
        senders=draft.senders,
        identity=draft.identity,
        facts=draft.facts,
        documents=draft.documents,
        channels=tuple(build_channel(channel) for channel in channels),
        tables=dict(tables),
        digest=digest,
        **said,
    )


def _take(section: Section | None, said: dict[str, Any], names: Mapping[str, str]) -> None:
    if section is not None:
        said.update({to: section.values[key] for key, to in names.items() if key in section.values})


def build_channel(draft: ChannelDraft) -> ChannelConfig:
    """Return one channel; its draft must hold no error."""
    section = draft.section
    said: dict[str, Any] = {}
    _take(
        section,
        said,
        {"about": "about", "owner": "owner", "no_match": "no_match", "route": "route"},
    )
    _take(
        section.get("dedupe"),
        said,
        {
            # with a key it is the window of business duplicates: the guard keeps its own
            **({"window": "dedupe_window_seconds"} if draft.dedupe is None else {}),
            "on_reuse": "dedupe_on_reuse",
        },
    )
    _take(
        section.get("expect"), said, {"every": "expect_every_seconds", "between": "expect_between"}
    )
    if section.says("accept_processing"):
        said["accept_processing"] = frozenset(v for v, _ in section.get("accept_processing"))
    if section.says("accept_mode"):
        said["accept_mode"] = frozenset(v for v, _ in section.get("accept_mode"))
    unbatch = section.get("unbatch")
    if unbatch is not None:
        said["unbatch"] = True
        _take(unbatch, said, {"check_counts": "check_counts"})
    said["split"] = split_from(section)
    ignore = section.get("ignore_types")
    reads = () if draft.accept is None else draft.accept.paths()
    return ChannelConfig(
        name=draft.name,
        file=draft.file,
        enabled=draft.enabled,
        sources=draft.sources,
        files_source=draft.files_source,
        from_channels=draft.from_channels,
        dedupe=draft.dedupe,
        combine=draft.combine,
        ack=_ack(section.get("ack")),
        types=draft.types,
        accept=draft.accept,
        accept_line=section.line("accept"),
        accept_names_processing_id=any(
            path.text == "MSH-11" or path.text.startswith("MSH-11.") for path in reads
        ),
        ignore_types={} if ignore is None else dict(ignore.values),
        order_by=draft.order_by,
        steps=draft.steps,
        destinations=tuple(_destination(d) for d in draft.destinations),
        tests=draft.cases,
        **said,
    )


def _ack(section: Section | None) -> AckConfig | None:
    if section is None or section.get("when", "stored") == "stored":
        return None
    return AckConfig(
        source=section.get("from"),
        timeout_seconds=section.get("timeout"),
        on_timeout=section.get("else", "AR"),
        not_sent=section.get("not_sent", ""),
        whole=section.get("answer", "own") == "whole",
    )


def _destination(draft: DestinationDraft) -> DestinationConfig:
    section = draft.section
    said: dict[str, Any] = {}
    _take(
        section,
        said,
        {
            "about": "about",
            "on_in_doubt": "on_in_doubt",
            "because": "because",
            "ack_timeout": "ack_timeout_seconds",
            "duplicate_answer": "duplicate_answer",
            "acks": "acks",
            "stop_after": "stop_after",
        },
    )
    said["snapshot"] = tuple(name for name, _ in section.get("snapshot", ()))
    follow = section.get("follow")
    if follow is not None:
        said["follow"] = FollowConfig(key=follow.get("key"), lasts_us=int(follow.get("for") * 1e6))
    application = section.get("application_ack")
    if application is not None:
        on = application.get("on", "same")
        said["application"] = ApplicationAck(
            on="" if on == "same" else on, within_seconds=application.get("within", 600.0)
        )
    fhir = section.get("fhir")
    if fhir is not None:
        said["fhir"] = fhir.get("map")
    return DestinationConfig(
        name=draft.name,
        line=draft.position.line,
        enabled=draft.enabled,
        connection=draft.connection,
        channel=draft.channel,
        mints=section.get("control_id") == "mint",
        otherwise=section.get("otherwise", False),
        files=draft.files,
        types=draft.types,
        accept=draft.accept,
        accept_line=section.line("accept"),
        steps=draft.steps,
        retry=draft.retry,
        on_nak=draft.on_nak,
        order=draft.order,
        lanes=draft.lanes,
        settle=draft.settle,
        **said,
    )
