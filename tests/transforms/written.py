"""Steps as an analyst writes them, for tests: YAML text to nodes with positions, and back to bytes."""

from collections.abc import Mapping

import yaml

from ifengine.hl7.message import Message
from ifengine.hl7.path import parse_path
from ifengine.transforms.base import Steps, StepScope
from ifengine.transforms.compile import Known, compile_steps
from ifengine.transforms.identity import PatientIdentity
from ifengine.transforms.site_files import PythonFile, Snippet, parameters_of
from ifengine.transforms.source import Entries, Items, Node, Position, Problems, Text
from ifengine.transforms.tables import Table, read_csv
from ifengine.transforms.trace import Trace

NOW_US = 1_767_607_200_000_000  # 2026-01-05 10:00:00 UTC

ADT = b"\r".join(
    [
        rb"MSH|^~\&|EPIC|MERCY|LIS|LAB|20260105101500||ADT^A01^ADT_A01|A100|P|2.5.1",
        b"EVN|A01|20260105101500",
        b"PID|1||70^^^MERCY^MR~99^^^SSA^SS||Fir ^Ada^Q~ Firth||19800215|2||2106-3|12 Main^^Town"
        b'||555-01 47~555-02||ENG|""||||||""',
        b"NK1|1|Fir^Eva|SPO",
        b"PV1|1|I|4WEST^401^A|||||1234^Elm^May",
        b"AL1|1|DA|^Penicillin",
        b"AL1|2|DA|^Nuts",
        b"ZPI|1|VIP",
        b"",
    ]
)
ORU = b"\r".join(
    [
        rb"MSH|^~\&|LAB|NORTH|EHR|SOUTH|20260105||ORU^R01^ORU_R01|1|P|2.5.1",
        b"PID|1||71^^^N^MR||Fir^Ada",
        b"OBR|1|P1||CBC",
        b"NTE|1||about the order",
        b"OBX|1|NM|718-7^Hb||13.1|||N|||F",
        b"NTE|1||about the value",
        b"OBX|2|NM|2345-7^Glu||9.9|||HH|||C",
        b"OBR|2|P2||K",
        b"OBX|1|NM|2823-3^K||4|||L|||F",
        b"",
    ]
)


def _table(name: str, text: str) -> Table:
    return read_csv(name, text, f"{name}.csv", Problems())


TABLES: Mapping[str, Table] = {
    "ward": _table("ward", "from,to,floor\n4WEST,W4,4\nICU,IC1,1\n"),
    "sex": _table("sex", "# codes\nfrom,to\n1,F\n2,M\n"),
    "loinc": _table(
        "loinc", "code,unit,to\nGLU,mg/dL,2345-7\nGLU,*,14749-6\n*,kg,29463-7\nGLU,kg,1\n"
    ),
    "lab_to_loinc": _table(
        "lab_to_loinc",
        "code,system,unit,to,text,to_system\nCHOL,L,mmol/L,14647-2,Cholesterol,LN\n"
        "GLU,L,mg/dL,2345-7,Glucose [Mass/volume],LN\nK,L,*,2823-3,Potassium,LN\n",
    ),
    "codes": _table("codes", "from,to,text,to_system\nGlu,2345-7,Glucose,LN\nHb,718-7,,LN\n"),
    "units": _table(
        "units",
        "from,to,factor,offset\ng/L,mg/L,1000,\nmg/dL,mg/L,10,\n[degF],Cel,5/9,-17.77777778\n",
    ),
    "molar": _table(
        "molar", "code,from,to,factor\nGLU,mg/dL,mmol/L,0.0555\nCHOL,mg/dL,mmol/L,0.02586\n"
    ),
    "wards_by_day": _table(
        "wards_by_day",
        "from,to,valid_from,valid_to\n4W,old,,20251231\n4W,new,20260101,20260131\n"
        "4W,newest,20260201,\nICU,IC1,,\n",
    ),
}


def nodes(text: str) -> Node:
    """Return the nodes of a YAML text, as the loader of the engine makes them."""
    return _node(yaml.compose(text))


def _node(node: yaml.Node) -> Node:
    place = Position("channel.yaml", node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.ScalarNode):
        return Text(node.value, place, node.style is None, node.style not in ("|", ">"))
    if isinstance(node, yaml.SequenceNode):
        return Items(tuple(_node(item) for item in node.value), place)
    pairs = [(_node(key), _node(value)) for key, value in node.value]
    return Entries(tuple((key, value) for key, value in pairs if isinstance(key, Text)), place)


FACTS: Mapping[str, float] = {"visit": 90 * 86_400.0}  # what the site of these tests shares


IDENTITY = PatientIdentity(path=parse_path("PID-3"), type="MR", authority=("MERCY", "NORTH"))

# beside the tables: what `python` and `use` name
PYTHON_FILES: Mapping[str, PythonFile] = {
    "python/strange_lab.py": PythonFile(
        "channels/python/strange_lab.py",
        "def transform(msg, ctx):\n    pass\n",
        frozenset({"transform"}),
    )
}


def snippet(name: str, text: str) -> Snippet:
    """Return a snippet as the loader makes it."""
    node = nodes(text)
    assert isinstance(node, Items)
    return Snippet(f"channels/{name}", node, parameters_of(node))


SNIPPETS: Mapping[str, Snippet] = {
    "snippets/us-phone.yaml": snippet(
        "snippets/us-phone.yaml", "- replace: {in: '${with.field}', find: '-', with: ''}\n"
    )
}


def compiled(
    text: str, *, variables: frozenset[str] | None = None, destination: str = ""
) -> tuple[Steps, Problems]:
    """Compile steps and return them with what is wrong with them."""
    problems = Problems()
    known = Known(
        TABLES,
        variables,
        facts=FACTS,
        destination=destination,
        identity=IDENTITY,
        python_files=PYTHON_FILES,
        snippets=SNIPPETS,
    )
    return compile_steps(nodes(text), problems, known), problems


def steps(text: str) -> Steps:
    """Compile steps that have no mistake."""
    made, problems = compiled(text)
    assert problems.ok, problems.found
    return made


def scope_of(content: bytes, trace: Trace | None = None) -> StepScope:
    """Return a scope on one message."""
    return StepScope(Message.parse(content), TABLES, NOW_US, "01J8K3Q", trace=trace)


def run(text: str, content: bytes = ADT) -> Message:
    """Run steps on a message and return it, read again from its bytes."""
    scope = scope_of(content)
    steps(text).run(scope)
    return Message.parse(scope.message.encode())


def field(message: Message, place: str) -> str:
    """Return the encoded field at ``PID-5`` or ``OBX[2]-5``."""
    segment, _, number = place.partition("-")
    name, _, index = segment.partition("[")
    at = message.indexes(name)[int(index.rstrip("]") or 1) - 1]
    return message.raw(at, int(number)).decode()
