"""The client and the server of the `hl7` package against ours, on both loops."""

import asyncio

import hl7.mllp

import hl7
from ifengine.mllp.framing import encode_frame
from ifengine.mllp.inbound import Inbound
from mllp.peers import ClientNotes, Notes, client_of, listening, on_both_loops, until

MESSAGE = (
    "MSH|^~\\&|A|A|B|B|20260105083000||ADT^A01^ADT_A01|M%d|P|2.5.1\r"
    "PID|1||4711^^^HOSP^MR||Example^Erika\r"
)


class Acknowledges(Notes):
    def frame_received(self, connection: Inbound, content: bytes) -> None:
        self.frames.append(content)
        ack = hl7.parse(content.decode()).create_ack("AA")
        connection.answer(encode_frame(str(ack).encode()))


@on_both_loops
async def test_the_client_of_the_hl7_package_is_answered_one_by_one_and_pipelined() -> None:
    receiver = Acknowledges()
    async with listening(receiver) as listener:
        reader, writer = await hl7.mllp.open_hl7_connection("127.0.0.1", listener.port)
        for number in range(5):
            writer.writemessage(hl7.parse(MESSAGE % number))
            answer = await reader.readmessage()
            assert str(answer["MSA.F2"]) == f"M{number}"
        for number in range(5, 20):
            writer.writemessage(hl7.parse(MESSAGE % number))
        for number in range(5, 20):
            assert str((await reader.readmessage())["MSA.F2"]) == f"M{number}"
        writer.close()
        await writer.wait_closed()
        await until(lambda: receiver.closed)
    assert receiver.frames == [(MESSAGE % number).encode() for number in range(20)]
    assert receiver.faults == []


@on_both_loops
async def test_the_server_of_the_hl7_package_answers_our_client() -> None:
    received: list[str] = []
    served = asyncio.Event()

    async def serve(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        try:
            while True:
                message = await reader.readmessage()
                received.append(str(message))
                writer.writemessage(message.create_ack("AA"))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()
            await writer.wait_closed()
            served.set()

    notes = ClientNotes()
    server = await hl7.mllp.start_hl7_server(serve, "127.0.0.1", 0)
    async with server:
        client = client_of(server.sockets[0].getsockname()[1], notes)
        client.connect()
        await notes.wait(1)
        for number in range(20):
            client.send((MESSAGE % number).encode())
            await notes.wait(2 + number)
        client.close()
        await served.wait()
    assert received == [MESSAGE % number for number in range(20)]
    answers = [content for name, content in notes.log if name == "frame"]
    assert [b"MSA|AA|M%d" % number in answer for number, answer in enumerate(answers)] == [
        True
    ] * 20
