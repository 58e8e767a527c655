"""An MLLP client from npm against our listener."""

import asyncio
import json
from pathlib import Path

import pytest

from ifengine.mllp.framing import FramingFault, encode_frame
from ifengine.mllp.inbound import Inbound
from ifengine.mllp.tls import server_context
from mllp.peers import certificates, listening, on_both_loops, until
from requirements import require

MESSAGES = 25


class Acknowledges:
    """A receiver that says AA to the control id, which is all a client looks at."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.faults: list[FramingFault] = []
        self.closed = 0

    def frame_received(self, connection: Inbound, content: bytes) -> None:
        self.frames.append(content)
        number, control_id = len(self.frames), content.split(b"|", 10)[9]
        header = b"MSH|^~\\&|B|B|A|A|20260105083000||ACK^A01^ACK|R%d|P|2.7" % number
        connection.answer(encode_frame(b"%b\rMSA|AA|%b\r" % (header, control_id)))

    def fault_received(self, connection: Inbound, fault: FramingFault, data: bytes) -> None:
        self.faults.append(fault)

    def connection_opened(self, connection: Inbound) -> None: ...

    def connection_closed(self, connection: Inbound) -> None:
        self.closed += 1


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@on_both_loops
async def test_an_npm_client_gets_every_answer_to_its_messages(secure: bool) -> None:
    package = require("npm:node-hl7-client")
    script = Path(__file__).with_name("npm_peer.cjs")
    receiver = Acknowledges()
    context = server_context(cert=certificates().server) if secure else None
    async with listening(receiver, ssl_context=context) as listener:
        arguments = [str(script), str(package), str(listener.port), str(MESSAGES)]
        if secure:
            arguments.append(str(certificates().ca))
        process = await asyncio.create_subprocess_exec(
            str(require("program:node")),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 15)
        await until(lambda: receiver.closed)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out) == [["AA", f"NPM{number}"] for number in range(MESSAGES)]
    assert [frame.split(b"|", 10)[9] for frame in receiver.frames] == [
        b"NPM%d" % number for number in range(MESSAGES)
    ]
    assert all("Müller".encode() in frame for frame in receiver.frames)
    assert receiver.faults == []
