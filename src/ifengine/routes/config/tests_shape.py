"""``tests:`` of a channel file, or of a NAME_test.yaml beside it, to ``Case`` s."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ifengine.hl7.path import Path, parse_path
from ifengine.routes.application_matching import decides
from ifengine.routes.config.cases import (
    Answer,
    Case,
    Expected,
    Given,
    StartFact,
    Turn,
    as_it_travels,
)
from ifengine.routes.config.filled import shorten
from ifengine.routes.config.keys_tests import (
    ACKS,
    ANSWER,
    ANSWERS,
    CHANGED,
    DETAILS,
    FILE_DETAILS,
    LATER,
    STATES,
    STEP,
    TEST,
)
from ifengine.routes.config.kinds import BAD, OneOf, Scalar, nearest
from ifengine.routes.config.scalars import parse_whole
from ifengine.routes.config.sections import Section, read_section
from ifengine.transforms.facts import SEPARATOR
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text

_STATE = OneOf(STATES)
_ACK = OneOf(ACKS)
_ALWAYS = ("ack", "ack_text", "unmatched")
UNMATCHED: Final = "unmatched"


def _parse_count(text: str) -> int:
    return parse_whole(0, 1_000_000, text)


_COUNT = Scalar("a number", _parse_count, 0)


@dataclass(frozen=True, slots=True)
class _Reader:
    """What every part of a test is read with."""

    destinations: Mapping[str, bool]
    samples: Collection[str]
    problems: Problems


def read_tests(
    node: Node, destinations: Mapping[str, bool], samples: Collection[str], problems: Problems
) -> tuple[Case, ...]:
    """Read ``tests:``; everything that could not be run as it is written becomes a problem.

    Args:
        node: the list.
        destinations: by name, those of the channel: whether an application acknowledgment is
            waited for there.
        samples: names of the files below channels/samples, without ``.hl7``.
        problems: gets every mistake.
    """
    if not isinstance(node, Items):
        problems.error("E104", node.position, '"tests" takes a list', 'each begins with "- name:"')
        return ()
    reader = _Reader(destinations, samples, problems)
    first_lines: dict[str, int] = {}
    cases = []
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
        cases.append(_case(section, reader))
    return tuple(cases)


def _case(section: Section, reader: _Reader) -> Case:
    problems = reader.problems
    facts, patients = section.nodes.get("fact"), section.nodes.get("patients")
    return Case(
        name=section.get("name", ""),
        position=section.position,
        turns=_turns(section, reader),
        facts=() if facts is None else tuple(_facts(facts, problems)),
        patients=() if patients is None else tuple(_patients(patients, problems)),
    )


def _turns(section: Section, reader: _Reader) -> tuple[Turn, ...]:
    problems = reader.problems
    sequence = section.nodes.get("sequence")
    if sequence is None:
        if not section.says("given"):
            problems.error("E102", section.position, '"given" is missing', "or a sequence of them")
        return (_turn(section, reader),)
    for key in ("given", "expect", "answer", "after"):
        if section.says(key):
            place = section.keys[key].position
            problems.error("E103", place, f'"{key}" beside a sequence', "move it into its steps")
    if not isinstance(sequence, Items):
        problems.error("E104", sequence.position, '"sequence" takes a list')
        return ()
    turns = []
    for step in sequence:
        if isinstance(step, Entries):
            turns.append(_turn(read_section(STEP, step, problems), reader))
        else:
            problems.error("E104", step.position, "a step of a sequence is a map")
    return tuple(turns)


def _turn(section: Section, reader: _Reader) -> Turn:
    given, answer = section.nodes.get("given"), section.nodes.get("answer")
    said: dict[str, Any] = {}
    expect = section.nodes.get("expect")
    if isinstance(expect, Entries):
        expected = []
        for key, value in expect:
            if key.value in ("ack", "ack_text"):
                said[key.value] = _of_the_answer(key, value, reader.problems)
            else:
                expected.append(_expected(key, value, reader))
        said["expected"] = tuple(one for one in expected if one is not None)
    elif expect is not None:
        reader.problems.error("E104", expect.position, '"expect" takes a map', "as in {lab: sent}")
    return Turn(
        position=section.position,
        after_us=round(section.get("after", 0.0) * 1e6),
        given=None if given is None else _given(given, reader),
        answers={} if answer is None else _answers(answer, reader),
        **said,
    )


# --- what comes in, and what is answered --------------------------------------------------------


def _given(node: Node, reader: _Reader) -> Given | None:
    problems = reader.problems
    if isinstance(node, Text):
        if not node.value.lstrip().startswith(("MSH", "FHS", "BHS")):
            problems.error(
                "E103",
                node.position,
                '"given" is not a message',
                "it begins with MSH, or is {sample: NAME}",
            )
        return Given(position=node.position, text=node.value)
    if isinstance(node, Items):
        problems.error("E104", node.position, '"given" takes one message', "several: sequence")
        return None
    section = read_section(CHANGED, node, problems)
    sample = section.get("sample")
    if sample is not None and sample not in reader.samples:
        problems.error(
            "E226",
            section.at("sample"),
            f'no sample "{shorten(sample)}"',
            nearest(sample, sorted(reader.samples)) or "a sample is channels/samples/NAME.hl7",
        )
    return Given(
        position=node.position,
        sample=sample or "",
        change=_by_path(section, "change"),
        remove=_values(section, "remove"),
        append=_values(section, "append"),
    )


def _by_path(section: Section, key: str) -> tuple[tuple[Path, str], ...]:
    return tuple((parse_path(name), text) for name, (text, _) in section.get(key, {}).items())


def _values(section: Section, key: str) -> tuple[Any, ...]:
    return tuple(value for value, _ in section.get(key, ()))


def _answers(node: Node, reader: _Reader) -> dict[str, Answer]:
    if not isinstance(node, Entries):
        reader.problems.error("E104", node.position, '"answer" takes a map', "as in {lab: AE}")
        return {}
    answers = {}
    for key, value in node:
        known = _known_destination(key, reader, ())
        if isinstance(value, Entries):
            answers[key.value] = _twice(key, value, reader, known=known)
        else:
            answers[key.value] = Answer(_said(key.value, value, ANSWERS, reader.problems))
    return answers


def _said(name: str, node: Node, words: tuple[str, ...], problems: Problems) -> str:
    """Read a word, or a whole message; "" where it is neither."""
    if isinstance(node, Text) and node.value.lstrip().startswith("MSH"):
        return node.value
    word = OneOf(words).read(name, node, problems)
    return "" if word is BAD else str(word)


def _twice(key: Text, node: Entries, reader: _Reader, *, known: bool) -> Answer:
    """Read ``{first: CA, application: AE}``."""
    problems = reader.problems
    section = read_section(ANSWER, node, problems)
    first, later = section.nodes.get("first"), section.nodes.get("application")
    if first is None and later is None:
        problems.error("E102", node.position, f'"{key.value}" answers nothing', "as in lab: AE")
    at_once = "CA" if first is None else _said("first", first, ANSWERS, problems)
    if later is None:
        return Answer(at_once)
    if known:
        _waited_for(key.value, section.keys["application"].position, reader)
    if at_once != "CA" and at_once in ANSWERS:
        problems.error(
            "E103",
            section.keys["application"].position,
            f'"application" after {at_once}: no second answer is waited for',
            "first: CA, or leave first out",
        )
    said = _said("application", later, LATER, problems)
    if said and said not in LATER and not decides(as_it_travels(said)):
        problems.error(
            "E103",
            later.position,
            '"application" is no acknowledgment that decides',
            "MSA-1 is AA, AE or AR",
        )
    return Answer(at_once, said)


def _waited_for(name: str, position: Position, reader: _Reader) -> None:
    if not reader.destinations[name]:
        reader.problems.error(
            "E271",
            position,
            f'no application acknowledgment is waited for at "{shorten(name)}"',
            "acks: accept+application and application_ack: at the destination",
        )


# --- what is known before ------------------------------------------------------------------------


def _facts(node: Node, problems: Problems) -> list[StartFact]:
    """Read ``{order: P900}``, ``{order: [P900, P901]}`` or ``{order: {P900: {visit: V1}}}``."""
    if not isinstance(node, Entries):
        problems.error("E104", node.position, '"fact" takes a map', "as in {order: P900}")
        return []
    found = []
    for name, value in node:
        if isinstance(value, Entries):
            for key, values in value:
                found.append(StartFact(name.value, key.value, _fact_values(values, problems)))
            continue
        for item in value.items if isinstance(value, Items) else (value,):
            key_text = _key_text(item)
            if key_text:
                found.append(StartFact(name.value, key_text))
            else:
                problems.error(
                    "E104", item.position, f'"{name.value}" takes a key, or a list of them'
                )
    return found


def _key_text(node: Node) -> str:
    """Return a key; a list is one key of several parts."""
    if isinstance(node, Items):
        return SEPARATOR.join(item.value for item in node if isinstance(item, Text))
    return node.value if isinstance(node, Text) and not node.is_null else ""


def _fact_values(node: Node, problems: Problems) -> dict[str, str]:
    if isinstance(node, Text):
        return {} if node.is_null else {"": node.value}
    if isinstance(node, Entries):
        return {key.value: value.value for key, value in node if isinstance(value, Text)}
    problems.error("E104", node.position, "a fact has one value, or a map of them")
    return {}


def _patients(node: Node, problems: Problems) -> list[tuple[str, str]]:
    """Read ``{"700999": "700123"}``: a retired identifier and the one that survived."""
    if not isinstance(node, Entries):
        problems.error(
            "E104", node.position, '"patients" takes a map', 'as in {"700999": "700123"}'
        )
        return []
    found = []
    for retired, kept in node:
        if isinstance(kept, Text) and not kept.is_null:
            found.append((retired.value, kept.value))
        else:
            problems.error("E104", kept.position, "a retired identifier has one survivor")
    return found


# --- what is expected ------------------------------------------------------------------------------


def _known_destination(key: Text, reader: _Reader, others: tuple[str, ...]) -> bool:
    if key.value in reader.destinations:
        return True
    names = [*sorted(reader.destinations), *others]
    reader.problems.error(
        "E201",
        key.position,
        f'no destination "{shorten(key.value)}" in this channel',
        nearest(key.value, names) or f"there is {', '.join(names)}",
    )
    return False


def _of_the_answer(key: Text, value: Node, problems: Problems) -> str:
    if key.value == "ack":
        code = _ACK.read("ack", value, problems)
        return "" if code is BAD else str(code)
    if isinstance(value, Text):
        return value.value
    problems.error("E104", value.position, '"ack_text" takes a text')
    return ""


def _expected(key: Text, value: Node, reader: _Reader) -> Expected | None:
    problems = reader.problems
    if key.value != UNMATCHED and not _known_destination(key, reader, _ALWAYS):
        return None
    if isinstance(value, Text):
        state = _STATE.read(key.value, value, problems)
        position = key.position
        return Expected(
            destination=key.value, position=position, state="" if state is BAD else state
        )
    if isinstance(value, Items):
        problems.error("E104", value.position, f'"{key.value}" takes a state, or a map')
        return None
    expected = _details(key.value, value, problems)
    if expected.application and key.value in reader.destinations:
        _waited_for(key.value, _place_of("application", value), reader)
    return expected


def _place_of(name: str, node: Entries) -> Position:
    return next(key.position for key, _ in node if key.value == name)


def _details(destination: str, node: Entries, problems: Problems) -> Expected:
    section = read_section(DETAILS, node, problems)
    said: dict[str, Any] = {}
    for name, kind in (("state", _STATE), ("count", _COUNT)):
        if name in section.nodes:
            read = kind.read(name, section.nodes[name], problems)
            if read is not BAD:
                said[name] = read
    said.update(
        (name, section.get(name))
        for name in ("reason", "same_as", "application")
        if section.get(name)
    )
    if section.says("segments"):
        said["segments"] = _values(section, "segments")
    if section.says("ignore") and not section.says("same_as"):
        problems.error(
            "E102", section.keys["ignore"].position, '"ignore" goes with same_as',
            "as in same_as: golden/a01.hl7",
        )  # fmt: skip
    if ".." in said.get("same_as", "").split("/") or said.get("same_as", "").startswith("/"):
        problems.error("E104", section.at("same_as"), "a golden file stands below channels/")
    return Expected(
        destination=destination,
        position=node.position,
        fields=_by_path(section, "fields"),
        absent=_values(section, "absent"),
        contains=_values(section, "contains"),
        not_contains=_values(section, "not_contains"),
        ignore=_values(section, "ignore"),
        file_names=_file_names(section, problems),
        **said,
    )


def _file_names(section: Section, problems: Problems) -> tuple[str, ...]:
    node = section.nodes.get("file")
    if node is None:
        return ()
    if not isinstance(node, Entries):
        problems.error("E104", node.position, '"file" takes a map', "as in {name: 1.hl7}")
        return ()
    return _values(read_section(FILE_DETAILS, node, problems), "name")
