"""The shape of ``tests:``: keys, names and states. Running them is a command of its own."""

from ifengine.routes.config.filled import shorten
from ifengine.routes.config.keys_tests import ACKS, ANSWERS, CHANGED, DETAILS, STATES, STEP, TEST
from ifengine.routes.config.kinds import OneOf, Scalar, nearest
from ifengine.routes.config.scalars import parse_whole
from ifengine.routes.config.sections import Section, read_section
from ifengine.transforms.source import Entries, Items, Node, Problems, Text

_STATE = OneOf(STATES)
_ACK = OneOf(ACKS)
_ALWAYS = ("ack", "ack_text", "unmatched")


def _parse_count(text: str) -> int:
    return parse_whole(0, 1_000_000, text)


_COUNT = Scalar("a number", _parse_count, 0)


def check_tests(
    node: Node, destinations: frozenset[str], samples: frozenset[str], problems: Problems
) -> None:
    """Add a problem for everything in ``tests:`` that could not be run as it is written."""
    if not isinstance(node, Items):
        problems.error("E104", node.position, '"tests" takes a list', 'each begins with "- name:"')
        return
    first_lines: dict[str, int] = {}
    for test in node:
        if not isinstance(test, Entries):
            problems.error("E104", test.position, "a test is a map", 'as in "- name: …"')
            continue
        section = read_section(TEST, test, problems)
        name = section.get("name")
        if name in first_lines:
            problems.error(
                "E002",
                section.at("name"),
                f'"{shorten(name)}" names two tests',
                f"first one on line {first_lines[name]}",
            )
        elif name is not None:
            first_lines[name] = section.line("name")
        _check_body(section, destinations, samples, problems)


def _check_body(
    section: Section, destinations: frozenset[str], samples: frozenset[str], problems: Problems
) -> None:
    for key in ("fact", "patients"):
        node = section.nodes.get(key)
        if node is not None and not isinstance(node, Entries):
            problems.error("E104", node.position, f'"{key}" takes a map')
    sequence = section.nodes.get("sequence")
    if sequence is None:
        if not section.says("given"):
            problems.error("E102", section.position, '"given" is missing', "or a sequence of them")
        _check_step(section, destinations, samples, problems)
        return
    for key in ("given", "expect", "answer", "after"):
        if section.says(key):
            place = section.keys[key].position
            problems.error("E103", place, f'"{key}" beside a sequence', "move it into its steps")
    if not isinstance(sequence, Items):
        problems.error("E104", sequence.position, '"sequence" takes a list')
        return
    for step in sequence:
        if isinstance(step, Entries):
            _check_step(read_section(STEP, step, problems), destinations, samples, problems)
        else:
            problems.error("E104", step.position, "a step of a sequence is a map")


def _check_step(
    section: Section, destinations: frozenset[str], samples: frozenset[str], problems: Problems
) -> None:
    given = section.nodes.get("given")
    if given is not None:
        _check_given(given, samples, problems)
    answer = section.nodes.get("answer")
    if answer is not None:
        _check_answer(answer, destinations, problems)
    expect = section.nodes.get("expect")
    if expect is None:
        return
    if not isinstance(expect, Entries):
        problems.error("E104", expect.position, '"expect" takes a map', "as in {lab: sent}")
        return
    for key, value in expect:
        _check_expected(key, value, destinations, problems)


def _check_given(node: Node, samples: frozenset[str], problems: Problems) -> None:
    if isinstance(node, Text):
        if not node.value.lstrip().startswith(("MSH", "FHS", "BHS")):
            problems.error(
                "E103",
                node.position,
                '"given" is not a message',
                "it begins with MSH, or is {sample: NAME}",
            )
        return
    if isinstance(node, Items):
        problems.error("E104", node.position, '"given" takes one message', "several: sequence")
        return
    section = read_section(CHANGED, node, problems)
    sample = section.get("sample")
    if sample is not None and sample not in samples:
        problems.error(
            "E226",
            section.at("sample"),
            f'no sample "{shorten(sample)}"',
            nearest(sample, sorted(samples)) or "a sample is channels/samples/NAME.hl7",
        )


def _check_answer(node: Node, destinations: frozenset[str], problems: Problems) -> None:
    if not isinstance(node, Entries):
        problems.error("E104", node.position, '"answer" takes a map', "as in {lab: AE}")
        return
    for key, value in node:
        _known_destination(key, destinations, (), problems)
        if isinstance(value, Text) and value.value.lstrip().startswith("MSH"):
            continue
        OneOf(ANSWERS).read(key.value, value, problems)


def _known_destination(
    key: Text, destinations: frozenset[str], others: tuple[str, ...], problems: Problems
) -> bool:
    if key.value in destinations:
        return True
    names = [*sorted(destinations), *others]
    problems.error(
        "E201",
        key.position,
        f'no destination "{shorten(key.value)}" in this channel',
        nearest(key.value, names) or f"there is {', '.join(names)}",
    )
    return False


def _check_expected(
    key: Text, value: Node, destinations: frozenset[str], problems: Problems
) -> None:
    if key.value == "ack":
        _ACK.read("ack", value, problems)
    elif key.value == "ack_text":
        if not isinstance(value, Text):
            problems.error("E104", value.position, '"ack_text" takes a text')
    elif key.value == "unmatched" or _known_destination(key, destinations, _ALWAYS, problems):
        if isinstance(value, Text):
            _STATE.read(key.value, value, problems)
        elif isinstance(value, Items):
            problems.error("E104", value.position, f'"{key.value}" takes a state, or a map')
        else:
            details = read_section(DETAILS, value, problems)
            if "state" in details.nodes:
                _STATE.read("state", details.nodes["state"], problems)
            if "count" in details.nodes:
                _COUNT.read("count", details.nodes["count"], problems)
            for name in ("fhir", "file"):
                node = details.nodes.get(name)
                if node is not None and not isinstance(node, Entries):
                    problems.error("E104", node.position, f'"{name}" takes a map')
