"""What must hold within one channel: order, identity events, filters, file names, retry."""

import re
from collections.abc import Iterator, Sequence

from ifengine.routes.config.channel_file import ChannelDraft, DestinationDraft, step_nodes
from ifengine.routes.config.checks_choice import check_choice
from ifengine.routes.config.checks_filters import check_filters
from ifengine.routes.config.checks_split import check_split
from ifengine.routes.config.message_types import (
    IDENTITY_EVENTS,
    admitted_identity_events,
    has_once_only,
    names_adt_events,
    overlap,
    shown,
)
from ifengine.routes.config.models import Order
from ifengine.routes.config.site_file import SiteDraft
from ifengine.transforms.base import CompiledStep
from ifengine.transforms.identity import MERGES, NO_PATIENT, merges
from ifengine.transforms.reaching import meet
from ifengine.transforms.source import Entries, Items, Node, Problems, Text

_EVENT = re.compile(r"\bA[0-9]{2}\b")
_CONTROL_FIELDS = re.compile(r"MSH-[34](\.[12])?")


def check_channel(
    channel: ChannelDraft,
    site: SiteDraft,
    together: Sequence[ChannelDraft],
    problems: Problems,
) -> None:
    """Add every problem of one channel.

    Args:
        channel: the draft.
        site: for the site's identity.
        together: the enabled channels of the same listener, this one included.
        problems: gets them.
    """
    _check_order(channel, site, problems)
    _check_identity_events(channel, together, problems)
    if not channel.section.tries("tests"):
        problems.warning("W201", channel.position, f'"{channel.name}" has no tests')
    check_filters(channel, site, problems)
    check_split(channel, problems)
    check_choice(channel, problems)
    for destination in channel.destinations:
        _check_destination(channel, destination, problems)


def _check_order(channel: ChannelDraft, site: SiteDraft, problems: Problems) -> None:
    section = channel.section
    if channel.order_by == "patient" and site.identity is None and not site.says_identity:
        problems.error(
            "E207",
            section.at("order_by"),
            "order_by: patient needs the site's definition of a patient",
            "identity: {patient: {path: PID-3, type: MR, authority: [NAME]}} in ifengine.yaml",
        )
    silent = [d for d in channel.destinations if not d.section.says("order")]
    if not section.tries("order_by") and silent:
        problems.warning(
            "W202",
            channel.position,
            f'"{channel.name}" has no order_by: a dead letter holds nothing back',
            "order_by: patient keeps what belongs to one patient in order; or say order: none",
        )


def _check_identity_events(
    channel: ChannelDraft, together: Sequence[ChannelDraft], problems: Problems
) -> None:
    """Identity events are never lost by omission (safety-rules.md 13 and 16)."""
    if not channel.enabled or not channel.knows_types:
        return
    handled = set(_mentioned_events(channel))
    admitted = admitted_identity_events(channel.types)
    open_events = [event for event in admitted if event not in handled]
    place = channel.section.at("types" if channel.section.says("types") else "from")
    if open_events:
        problems.warning(
            "W209",
            place,
            f"identity events pass here and no branch names them: {_listed(open_events)}",
            "a receiver must merge by itself; or choose by MSH-9.2, or fail them",
        )
    if not names_adt_events(channel.types) or channel.section.tries("ignore_types"):
        return
    if not all(other.knows_types for other in together):
        return
    taken = {event for other in together for event in admitted_identity_events(other.types)}
    lost = [event for event in IDENTITY_EVENTS if event not in taken]
    if lost:
        problems.error(
            "E209",
            place,
            f"identity events are left out: {_listed(lost)}",
            'take them, or say why not: ignore_types: {identity: "why"}',
        )


def _listed(events: Sequence[str]) -> str:
    if len(events) == len(IDENTITY_EVENTS):
        return f"{events[0]} to {events[-1]}, all {len(events)}"
    return ", ".join(events)


def _mentioned_events(channel: ChannelDraft) -> Iterator[str]:
    """Yield trigger events that a condition of the channel or a destination names.

    A merge_patient that always acts handles what it knows; of the rest it makes dead letters.
    """
    if any(step.uses.merges and step.when is None for step in channel.steps.steps):
        yield from (event.decode() for event in MERGES | NO_PATIENT)
    sections = [channel.section, *(d.section for d in channel.destinations)]
    for section in sections:
        accept = section.nodes.get("accept")
        if isinstance(accept, Text):
            yield from _EVENT.findall(accept.value)
        todo: list[Node] = list(step_nodes(section))
        while todo:
            node = todo.pop()
            if isinstance(node, Items):
                todo.extend(node.items)
            elif isinstance(node, Entries):
                for key, value in node:
                    if key.value == "when" and isinstance(value, Text):
                        yield from _EVENT.findall(value.value)
                    elif not isinstance(value, Text):
                        todo.append(value)


def _check_destination(
    channel: ChannelDraft, destination: DestinationDraft, problems: Problems
) -> None:
    section = destination.section
    if (
        destination.types
        and channel.knows_types
        and overlap(destination.types, channel.types) is None
    ):
        problems.warning(
            "W214",
            section.at("types"),
            f'no message reaches "{destination.name}": the channel takes none of these types',
        )
    elif not _accepts_meet(channel, destination):
        problems.warning(
            "W214",
            section.at("accept"),
            f'no message reaches "{destination.name}": the channel accepts none that it does',
        )
    effective = destination.types or channel.types
    _check_file_name(destination, problems)
    _check_lanes(channel, destination, problems)
    _check_merges(channel, destination, problems)
    if destination.connection is None:
        return
    if not section.tries("on_in_doubt") and channel.knows_types and has_once_only(effective):
        named = [shown(p) for p in effective if has_once_only((p,))] or ["orders and charges"]
        problems.warning(
            "W208",
            destination.position,
            f'"{destination.name}" does not say on_in_doubt, and {", ".join(named)} may pass',
            "resend: a message may come twice; hold: a person decides",
        )
    _check_control_id(channel, destination, problems)


def _accepts_meet(channel: ChannelDraft, destination: DestinationDraft) -> bool:
    """Whether a message that the channel accepts may be accepted here, whatever its steps do."""
    first, second = channel.accept, destination.accept
    if first is None or second is None or any(not _says_writes(s) for s in channel.steps.all()):
        return True
    written = {path.segment for path in channel.steps.paths_written()}
    read = {path.segment for path in first.paths()} & {path.segment for path in second.paths()}
    return bool(read & written) or meet(first, second)


def _says_writes(step: CompiledStep) -> bool:
    """Whether what a step changes is all said in what it writes."""
    return not step.uses.calls and step.verb not in ("deidentify", "version", "python")


def _check_lanes(channel: ChannelDraft, destination: DestinationDraft, problems: Problems) -> None:
    section, order = destination.section, destination.order
    if order is Order.STRICT and destination.retry.refused is None:
        retry = section.get("retry")
        place = (
            retry.at("refused")
            if retry is not None and retry.says("refused")
            else section.at("order")
        )
        problems.error(
            "E205",
            place,
            "a strict queue whose head is refused for ever stands still",
            "say how often: retry: {refused: 3}",
        )
    if order is Order.STRICT and destination.lanes > 1:
        problems.error(
            "E206", section.at("lanes"), "order: strict has one lane: its head holds all others"
        )
    if channel.section.tries("order_by"):
        return
    if order is Order.HOLD_KEY:
        problems.error(
            "E206",
            section.at("order"),
            "order: hold_key needs an order_by: there is no key to hold",
        )
    elif destination.lanes > 1 and order is not Order.NONE:
        problems.error(
            "E206",
            section.at("lanes"),
            "several lanes without order_by would let messages overtake each other",
            "give the channel an order_by, or say order: none",
        )


def _check_merges(channel: ChannelDraft, destination: DestinationDraft, problems: Problems) -> None:
    """A dead merge holds what belongs to both its patients (safety-rules.md 15)."""
    if destination.order in (Order.HOLD_KEY, Order.STRICT) or not merges(channel.steps):
        return
    taken = admitted_identity_events(channel.types)
    if destination.types:
        taken = tuple(e for e in admitted_identity_events(destination.types) if e in taken)
    if not taken or not destination.enabled:
        return
    section = destination.section
    place = section.at("order") if section.says("order") else destination.position
    problems.error(
        "E242",
        place,
        f'a merge that is dead at "{destination.name}" would hold nothing back there',
        "order: hold_key, with order_by: patient on the channel",
    )


def _check_control_id(
    channel: ChannelDraft, destination: DestinationDraft, problems: Problems
) -> None:
    """A rewritten sender can make two control ids equal (safety-rules.md 19)."""
    if destination.section.get("control_id") == "mint":
        return
    for node in (*step_nodes(channel.section), *step_nodes(destination.section)):
        written = node.get("set") if isinstance(node, Entries) else None
        if not isinstance(written, Entries):
            continue
        for key, _ in written:
            if _CONTROL_FIELDS.fullmatch(key.value):
                problems.warning(
                    "W219",
                    key.position,
                    f"{key.value} is rewritten: a receiver tells control ids apart by it",
                    "control_id: mint, or be sure that nobody else sends there under this name",
                )


def _check_file_name(destination: DestinationDraft, problems: Problems) -> None:
    target = destination.section.get("files")
    node = None if target is None else target.nodes.get("name")
    template = None if target is None else target.get("name")
    if template is None or not isinstance(node, Text):
        return
    outside = re.sub(r"\$\{[^}]*\}", "", node.value)
    for sign in "/\\\0":
        if sign in outside:
            problems.error(
                "E217",
                node.at(node.value.index(sign)),
                "a file name holds no folder",
                "the folder stands under dir:",
            )
            return
    if node.value.startswith(".") or len(outside.encode("utf-8")) > 120:
        problems.error("E217", node.position, "a file name does not begin with a dot, and is short")
    if template.is_constant:
        problems.error(
            "E217",
            node.position,
            "every message would get the same file name",
            "as in ${msg.id}.hl7",
        )
    _check_phi(node, problems)


def _check_phi(node: Text, problems: Problems) -> None:
    """File names are seen by everybody who lists a folder, and by backups and logs."""
    for found in re.finditer(r"\$\{([^}]*)\}", node.value):
        source = found[1].split("|")[0].strip()
        if source in ("msg.id", "now", "msg.type") or re.fullmatch(
            r"MSH-([3-9]|1[0-2])(\..*)?", source
        ):
            continue
        what = "a variable" if re.fullmatch(r"[a-z_][a-z0-9_]*", source) else source[:40]
        problems.error(
            "E215",
            node.at(found.start()),
            f"{what} may tell who the patient is, and a file name is seen by everybody",
            "name files by ${msg.id}, ${now | date(…)} or MSH fields",
        )
