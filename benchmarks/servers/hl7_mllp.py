"""A receiver made of `hl7.mllp` as its documentation shows it: read, acknowledge, keep nothing."""

import asyncio
import sys

from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server


async def take(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
    """Answer each message of a connection."""
    try:
        while not writer.is_closing():
            message = await reader.readmessage()
            writer.writemessage(message.create_ack())
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


async def main() -> None:
    """Serve until killed."""
    server = await start_hl7_server(take, host="127.0.0.1", port=int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
