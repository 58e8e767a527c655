"""Every message file of the shared corpus through the framing."""

import csv
from pathlib import Path

import pytest

from ifengine.mllp.framing import Frame, FrameDecoder, encode_frame

CORPUS = Path(__file__).parents[2] / ".." / "shared" / "corpus"


def contents() -> list[bytes]:
    index = CORPUS / "index.csv"
    if not index.is_file():
        pytest.skip("the shared corpus is not beside this repository")
    with index.open(encoding="utf-8", newline="") as rows:
        return [(CORPUS / row["path"]).read_bytes() for row in csv.DictReader(rows)]


@pytest.mark.parametrize("step", [1_000_000_000, 1448, 7])
def test_every_content_travels_byte_for_byte_or_is_refused_for_a_framing_byte(step: int) -> None:
    sent = []
    for content in contents():
        if not content or 0x0B in content or 0x1C in content:
            with pytest.raises(ValueError, match=r"^content "):
                encode_frame(content)
        else:
            sent.append(content)
    assert len(sent) > 300
    stream = b"".join(map(encode_frame, sent))
    decoder = FrameDecoder(max_content_bytes=16 * 1024 * 1024, tolerate=())
    received = []
    for at in range(0, len(stream), step):
        decoder.receive_data(stream[at : at + step])
        while isinstance(event := decoder.next_event(), Frame):
            received.append(event.content)
    assert received == sent
