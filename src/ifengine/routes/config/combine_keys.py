"""`combine:`: several messages into one, read and checked."""

from ifengine.hl7.condition import Condition
from ifengine.hl7.groups import repeats
from ifengine.hl7.path import Path
from ifengine.routes.combining import ORDER, REPORT, RESULT, CombineConfig
from ifengine.routes.config.sections import Section
from ifengine.transforms.compile import Known
from ifengine.transforms.known_paths import check_place
from ifengine.transforms.source import Position, Problems, Text


def read_combine(
    section: Section, until: Condition | None, known: Known, problems: Problems
) -> CombineConfig | None:
    """Read `combine:` with its condition, which was read before; None where it is absent or bad."""
    said: Section | None = section.get("combine")
    if said is None:
        return None
    by, key, up_to = said.get("by"), said.get("key"), said.get("up_to")
    for path, written in (key or ()) if by is not None else ():
        _check_key(path, by, written.position, known, problems)
    bad_until = said.says("until") and until is None
    if by is None or not key or up_to is None or bad_until:
        return None
    up_to_node = said.nodes["up_to"]
    config = CombineConfig(
        by=by,
        key=tuple(path for path, _ in key),
        up_to_us=int(up_to * 1e6),
        up_to=up_to_node.value if isinstance(up_to_node, Text) else "",
        until=until,
        count=said.get("count"),
        then=said.get("then", "deliver"),
    )
    if config.ends_by_time and config.then == "dead_letter":
        problems.error(
            "E266",
            said.at("then"),
            "nothing makes a collection whole, so that every one would be a dead letter",
            "until: OBR-25 = F, or count: 4",
        )
    _check_others(section, said, problems)
    return config


def _check_key(path: Path, by: str, at: Position, known: Known, problems: Problems) -> None:
    check_place(path, at, known.segments, problems)
    # by OBX a message has one report and one order: more are refused when they come
    is_one = by == RESULT and path.segment in (ORDER, REPORT)
    if path.is_bare and repeats(path.segment) and not is_one:
        problems.error(
            "E234",
            at,
            f'"{path.segment}" repeats, and combine wants one value',
            f"say which: {path.segment}[1], {path.segment}[last] …",
        )


def _check_others(section: Section, said: Section, problems: Problems) -> None:
    """What cannot stand beside it in one channel."""
    at = section.keys["combine"].position
    ack: Section | None = section.get("ack")
    if ack is not None and ack.get("when") == "delivered":
        problems.error(
            "E260",
            at,
            "the sender waits for an answer, and its message waits for others",
            "leave ack out, or combine in a channel behind this one",
        )
    if section.says("split_message"):
        problems.error(
            "E267",
            at,
            "one channel splits messages or combines them",
            "split here, and combine in a channel behind this one: to: {next: {channel: …}}",
        )
    if said.get("count") == 1:
        problems.error(
            "E267", said.at("count"), "one message is whole by itself", "count: 2, or more"
        )
