"""What the engine does with a message: channels, validation, de-identification, groups."""

from functools import cache

from fuzz.draw import Draw
from fuzz.messages import CANARY, NAMES, ROOT, content, marked, samples
from ifengine.errors import EngineError
from ifengine.hl7 import groups
from ifengine.hl7.message import Message, MessageError
from ifengine.hl7.structures import Part, parse_structure
from ifengine.routes.channel import Channel, MessageContext, PlanTrace
from ifengine.routes.config.loading import load_site
from ifengine.store.base import Fate
from ifengine.transforms.base import CallNeededError, StepFailedError, Steps, StepScope
from ifengine.transforms.memory import Blank, Change, Key, Remembered, Scratch, Space
from ifengine.transforms.table_of_steps import STEPS
from ifengine.transforms.trace import Trace
from ifengine.transforms.validation import Validation
from ifengine.transforms.validation_findings import MOST_FINDINGS
from ifengine.transforms.validation_segments import Level
from transforms.written import NOW_US, TABLES, compiled, steps

_FATES = {Fate.QUEUED, Fate.FILTERED, Fate.DROPPED, Fate.DEAD_LETTER, Fate.HELD, Fate.REJECTED}


def _message(draw: Draw) -> Message | None:
    try:
        return Message.parse(content(draw))
    except MessageError:
        return None


# --- channels -----------------------------------------------------------------------------------


@cache
def _channels() -> tuple[Channel, ...]:
    site = load_site(ROOT, environ={}).site
    assert site is not None
    return tuple(Channel(channel, site) for channel in site.channels)


class _Memory:
    """What earlier messages left, as the store would know it."""

    def __init__(self) -> None:
        self.held: dict[tuple[Space, Key], Remembered] = {}

    def look_up(self, space: Space, key: Key) -> Remembered | None:
        return self.held.get((space, key))

    def take(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            if change.remembered is None:
                self.held.pop((change.space, change.key), None)
            else:
                self.held[change.space, change.key] = change.remembered


def channels(data: bytes) -> None:
    """Any messages through the example channels: a decision each, the same again, and safe words."""
    draw = Draw(data)
    channel = draw.choice(_channels())
    memory = _Memory()
    for number in range(draw.number(2) + 1):
        message = _message(draw)
        if message is None:
            return
        whole = message.encode()
        decided = [_decide(channel, Message.parse(whole), number, memory) for _ in "ab"]
        if decided[0] is None:
            return
        assert decided[0] == decided[1], "the same message decided twice, two decisions"
        memory.take(decided[0][1])


def _decide(
    channel: Channel, message: Message, number: int, memory: _Memory
) -> tuple[object, tuple[Change, ...]] | None:
    scratch = Scratch(number + 1, NOW_US, memory)
    whole = message.encode()
    keys = channel.order_keys(message)
    assert keys is None or keys == tuple(sorted(set(keys)))
    trace = PlanTrace()
    context = MessageContext(str(number + 1), NOW_US, scratch)
    try:
        decision = channel.process(message, context, trace=trace)
    except CallNeededError:
        return None
    wanted = {d.name for d in channel.destinations}
    for delivery in decision.plan:
        assert delivery.fate in _FATES or delivery.fate is Fate.PARKED
        assert delivery.destination in wanted or delivery.destination == "unmatched"
        if delivery.reason is not None:
            assert CANARY not in delivery.reason.safe, delivery.reason.safe
        assert CANARY not in delivery.step
        assert CANARY not in repr(delivery)
        if delivery.content is not None:
            again = Message.parse(delivery.content)
            assert again.encode() == delivery.content
            assert again.delimiters == Message.parse(whole).delimiters
    if not decision.waiting:
        assert {d.destination for d in decision.plan} >= wanted or decision.plan
    for found in (decision.waiting, decision.refusal):
        assert found is None or CANARY not in found.reason.safe
    assert CANARY not in repr(decision.changes)
    plan = tuple((d.destination, d.fate, d.content, d.part, d.keys) for d in decision.plan)
    return plan, decision.changes


# --- steps --------------------------------------------------------------------------------------

_STEP_PATHS = (
    "PID-5.1", "PID-3[*].1", "OBX-5", "PID-3(where .5 = MR).1", "OBX(where OBX-8 = HH)-5", "PID-7", "ZPI-1",
    "OBX[*]-5", "NTE[*]-3", "PID-5[last].2", "MSH-10", "PV1-3", "OBR[*]/OBX[*]-5", "PID-3[2].4.1", "OBX-6.1",
)  # fmt: skip
_MORE_STEPS = (
    "date: {in: PATH, from: YYYYMMDD, to: MM/DD/YYYY}", "replace: {in: PATH, find: '/[A-Z]+/', with: '|^~'}",
    "set: {PATH: '${PID-3 | upper}${OBX-5}'}", "pad: {in: PATH, to: 30, with: '0'}", "number: {in: PATH, times: 0.001, decimals: 2}",
    "split: {from: PATH, on: '^', to: [PID-2, PID-4]}", "join: {from: OBX-5, per: OBR, with: '~'}",
    "timezone: {in: PATH, from: Europe/Berlin, to: UTC}", "truncate: {PATH: 3}", "ascii: PATH",
    "extract: {from: PATH, pattern: '([A-Z]+)(.*)', to: {1: PID-13.6, 2: PID-13.7}}", "mask: PATH", "null: PATH", "clear: PATH",
    "for_each: OBX\n  do: [{upper: OBX-5}, {delete_segments: NTE}]", "version: '2.3'", "version: '2.8'",
    "version: '2.5.1'", "unit: {table: units, value: OBX-5, unit: OBX-6, to: mg/L}", "for_each: OBR\n  do: [{delete_segments: OBX}, {set: {OBR-4: X}}]",
    "keep_repetitions: {in: PID-3, where: .5 = MR}", "drop_repetitions: {in: PID-3, where: .5 = SS}",
    "keep_segments: [MSH, PID, OBX]", "delete_segments: OBX(where OBX-8 = HH)", "renumber: OBX", "copy: PATH -> PID-2",
    "move: PATH -> PID-4", "upper: PATH", "note: {under: PID, text: '${PID-5}'}", "require: {PATH: no value}",
    "lookup: {table: ward, from: PATH, missing: dead_letter}", "fail: 'bad ${PATH}'", "reject: {code: AE, text: 'bad ${PATH}'}",
    "drop: 'bad ${PATH}'", "validate: {level: strict}", "title: PATH", "trim: PATH", "let: {x: '${PATH}'}",
)  # fmt: skip


def _at(text: str, path: str) -> str:
    """Return a step with a path in it, quoted where it stands alone."""
    text = text.replace("${PATH}", f"${{{path}}}").replace("PATH -> ", f"{path} -> ")
    return text.replace("PATH", f'"{path}"')


@cache
def _step(text: str) -> Steps | None:
    made, problems = compiled(f"- {text}")
    return made if problems.ok else None


def steps_of_the_language(data: bytes) -> None:
    """Any steps on any message: done, or ended by name without a value; what is left can be sent."""
    draw = Draw(data)
    written = [
        draw.choice((*_MORE_STEPS, *(row.example for row in STEPS)))
        for _ in range(draw.number(3) + 1)
    ]
    chosen = [_step(_at(text, draw.choice(_STEP_PATHS))) for text in written]
    message = _message(draw)
    if message is None:
        return
    whole = message.encode()
    ends = [_after(chosen, Message.parse(whole)) for _ in "ab"]
    assert ends[0] == ends[1] or any(word in text for text in written for word in _RANDOM)
    assert message.encode() == whole


_RANDOM = ("deidentify", "counter", "control_id")


def _after(chosen: list[Steps | None], message: Message) -> bytes | str:
    trace = Trace()
    scope = StepScope(message, TABLES, NOW_US, "1", trace=trace)
    scope.memory = Scratch(1, NOW_US, Blank())
    for one in chosen:
        if one is None:
            continue
        try:
            one.run(scope)
        except CallNeededError:
            return "a call"
        except EngineError as error:
            assert CANARY not in str(error), str(error)
            assert CANARY not in repr(error), repr(error)
            return str(error)
    assert not scope.loops
    try:
        left = scope.message.encode()
    except MessageError as error:
        assert CANARY not in str(error)
        return str(error)
    again = Message.parse(left)
    assert again.encode() == left
    assert again.names() == scope.message.names()
    return left


# --- validation ---------------------------------------------------------------------------------


def validation(data: bytes) -> None:
    """A message breaks no rule twice by looking again; stricter finds no less; no value is told."""
    draw = Draw(data)
    results = [sample for sample in samples() if b"OBX|" in sample]
    is_result = draw.flag()
    whole = marked(draw, draw.choice(results)) if is_result else content(draw)
    try:
        message = Message.parse(whole)
    except MessageError:
        return
    counts = []
    for level in (Level.LENIENT, Level.STANDARD, Level.STRICT):
        found = Validation(level=level).findings(message, TABLES)
        assert len(found) <= MOST_FINDINGS
        assert [f.text for f in found] == [
            f.text for f in Validation(level=level).findings(Message.parse(whole), TABLES)
        ]
        for finding in found:
            assert CANARY not in finding.text
        counts.append(len(found))
    assert counts == sorted(counts), counts
    assert message.encode() == whole


# --- de-identification --------------------------------------------------------------------------


@cache
def _deidentify(profile: str) -> Steps:
    return steps(profile)


_PROFILES = (
    "- deidentify: {profile: safe-harbor}",
    '- deidentify: {profile: pseudonym, key: "${secret:one}"}',
)


def deidentify(data: bytes) -> None:
    """Nothing that stands in a person's name, a comment or a local segment is in what leaves."""
    draw = Draw(data)
    profile = draw.choice(_PROFILES)
    message = _message(draw)
    if message is None:
        return
    for name, f in (("PID", 5), ("PID", 11), ("NK1", 2), ("ZPI", 1), ("NTE", 3), ("PID", 13)):
        for i in message.indexes(name):
            message.set_raw(i, f, None, None, None, CANARY.encode() * 2)
    try:
        whole = message.encode()
    except MessageError:
        return  # what was put in does not read back beside bytes of no character
    scope = StepScope(Message.parse(whole), TABLES, NOW_US, "1", memory=Scratch(1, NOW_US, Blank()))
    try:
        _deidentify(profile).run(scope)
    except StepFailedError as error:
        assert CANARY not in str(error)
        return
    left = scope.message.encode()
    assert CANARY.encode() * 2 not in left
    assert not scope.message.has_stray_lines
    again = Message.parse(left)
    assert again.encode() == left
    assert not [name for name in again.names() if name.startswith("Z")]


# --- groups and structures ----------------------------------------------------------------------

_SEGMENTS = tuple(name.decode() for name in NAMES if name and name.isupper())


def segment_groups(data: bytes) -> None:
    """Whatever order segments have: places are inside the message, and fit each other."""
    draw = Draw(data)
    names = ["MSH", *(draw.choice(_SEGMENTS) for _ in range(draw.number(14)))]
    for at, name in enumerate(names):
        for wanted in ("PID", "OBR", "OBX", "NTE", "ORC", "ZPI", "SPM"):
            seen = groups.seen_from(names, at, wanted)
            assert seen == sorted(set(seen))
            assert all(names[i] == wanted for i in seen)
            under = groups.children(names, at, wanted)
            assert all(i > at and names[i] == wanted for i in under)
            assert 1 <= groups.place_for(names, wanted) <= len(names)
        for i in groups.comments_of(names, at):
            assert names[i] == "NTE"
            assert groups.owner_of_comment(names, i) == at
        assert at < groups.end_of_block(names, at) <= len(names)
        assert 0 <= groups.numbered_under(names, at) < max(at, 1)
        if name != "MSH":
            left = groups.orphans(names, {at})
            assert at not in left
            assert all(0 <= i < len(names) for i in left)
            with_all = {at, *left}
            again = groups.orphans(names, with_all)
            assert not set(again) & with_all
    text = _structure(draw, 3)
    parts = parse_structure(text)
    assert _shown(parts) == " ".join(text.split())
    assert [s for part in parts for s in part.segments()]


def _structure(draw: Draw, depth: int) -> str:
    words = []
    for _ in range(draw.number(3) + 1):
        sign = draw.choice(("", "?", "*", "+"))
        if depth and draw.byte() % 3 == 0:
            opened, closed = draw.choice((("ORDER(", ")"), ("CHOICE<", ">")))
            words.append(f"{opened} {_structure(draw, depth - 1)} {closed}{sign}")
        else:
            words.append(draw.choice(_SEGMENTS) + sign)
    return " ".join(words)


def _shown(parts: tuple[Part, ...]) -> str:
    words = []
    for part in parts:
        sign = {(True, False): "", (False, False): "?", (False, True): "*", (True, True): "+"}
        shown = sign[part.required, part.repeats]
        if part.parts:
            opened, closed = ("<", ">") if part.choice else ("(", ")")
            words.append(f"{part.name}{opened} {_shown(part.parts)} {closed}{shown}")
        else:
            words.append(part.name + shown)
    return " ".join(words)
