"""What a destination may say about its receiver's answers, and where mistakes are shown."""

import pytest

from routes.config.small_site import CHANNEL


def with_to(body: str) -> dict[str, str]:
    return {"channels/one.yaml": CHANNEL.replace("{connection: out}", body)}


def test_what_is_written_arrives(load) -> None:
    said = "{connection: out, duplicate_answer: /on file/i, acks: accept, stop_after: 20}"
    found = load(with_to(said))
    assert found.site is not None
    (lab,) = found.site.channels[0].destinations
    assert (lab.duplicate_answer.text, lab.duplicate_answer.fold) == ("on file", True)
    assert (lab.acks, lab.stop_after) == ("accept", 20)


@pytest.mark.parametrize(
    ("body", "code", "column", "words"),
    [
        ("{connection: out, duplicate_answer: on file}", "E104", 44, "between slashes"),
        ("{connection: out, duplicate_answer: /}", "E104", 44, "between slashes"),
        ("{connection: out, duplicate_answer: /on (file/}", "E110", 48, "without its )"),
        ("{connection: out, duplicate_answer: /.*/}", "E103", 44, "any text"),
        ("{connection: out, acks: both}", "E103", 32, "original, accept"),
        ("{connection: out, stop_after: 0}", "E104", 38, "1"),
        ("{files: {dir: out, name: '${msg.id}'}, stop_after: 3}", "E102", 47, "folder"),
        ("{files: {dir: out, name: '${msg.id}'}, acks: accept}", "E102", 47, "folder"),
    ],
)
def test_a_mistake_is_shown_at_its_place(
    load, body: str, code: str, column: int, words: str
) -> None:
    (found,) = [p for p in load(with_to(body)).problems if p.code.startswith("E")]
    assert (found.code, found.position.line, found.position.column) == (code, 7, column)
    assert words in found.message + found.hint
