"""`dedupe:` with a key: business duplicates, read and checked."""

from ifengine.routes.config.message_types import overlap
from ifengine.routes.config.models import TypePattern
from ifengine.routes.config.sections import Section
from ifengine.routes.dedupe import DedupeConfig
from ifengine.transforms.base import Steps
from ifengine.transforms.compile import Known
from ifengine.transforms.keyed import Keyed, read_keyed
from ifengine.transforms.reading import Context
from ifengine.transforms.source import Node, Problems

_DEFAULT_WINDOW_SECONDS = 7 * 86_400.0
# messages that say something new about the same order or result although they look alike
_CHANGING = tuple(TypePattern(code=code, event="*") for code in ("ORM", "OMG", "OML", "OMP", "ORU"))


def read_dedupe(
    section: Section, types: tuple[TypePattern, ...], known: Known, problems: Problems
) -> DedupeConfig | None:
    """Read `dedupe:`; None where it has no key, or a wrong one."""
    said: Section | None = section.get("dedupe")
    if said is None:
        return None
    if not said.says("key"):
        for name in ("per", "content", "when", "on_repeat"):
            if said.says(name):
                problems.error(
                    "E102", said.at(name), f'"{name}" wants a key', "as in key: [ORC-2, OBR-4]"
                )
        return None
    if said.get("key") is None or (said.says("per") and said.get("per") is None):
        return None
    keyed = _keyed(said, known, problems)
    if keyed is None:
        return None
    _check_control_id(keyed, said, problems)
    _check_content(said, types, problems)
    return DedupeConfig(
        keyed=keyed,
        window_us=int(said.get("window", _DEFAULT_WINDOW_SECONDS) * 1e6),
        content_counts=said.get("content", "compare") == "compare",
        when=said.get("when"),
        on_repeat=said.get("on_repeat", "ack"),
    )


def _no_steps(node: Node, context: Context, number: str) -> Steps:
    return Steps()


def _keyed(said: Section, known: Known, problems: Problems) -> Keyed | None:
    context = Context(
        problems=problems, known=known, verb="dedupe", at=said.position, compile_list=_no_steps
    )
    given: dict[str, Node] = {"key": said.nodes["key"]}
    if "per" in said.nodes:
        given["per"] = said.nodes["per"]
    return read_keyed(given, context)[0]


def _check_control_id(keyed: Keyed, said: Section, problems: Problems) -> None:
    if any(path.segment == "MSH" and path.field == 10 for path in keyed.paths):
        problems.error(
            "E240",
            said.at("key"),
            "MSH-10 is no key: many senders use a control id again for other content",
            "the guard against retransmissions, always on, compares it with all bytes",
        )


def _check_content(said: Section, types: tuple[TypePattern, ...], problems: Problems) -> None:
    """Without the content, a change or a correction under the same key would be dropped."""
    if said.get("content", "compare") != "ignore":
        return
    if not said.says("when"):
        problems.error(
            "E241",
            said.at("content"),
            "content: ignore says which messages it is for",
            "as in when: ORC-1 = NW",
        )
        return
    when = said.get("when")
    said_of = {path.text for path in when.paths()} if when is not None else set()
    may_change = not types or overlap(types, _CHANGING) is not None
    if may_change and not said_of & {"ORC-1", "ORC-1.1", "OBX-11", "OBX-11.1"}:
        problems.error(
            "E241",
            said.at("when"),
            "content: ignore would drop a changed order or a corrected result here",
            "when: names ORC-1 or OBX-11, so that XO, SC, CA, DC, RP and C, D, W stay out",
        )
