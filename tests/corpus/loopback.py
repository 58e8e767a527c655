"""A receiver in a thread and a plain MLLP connection, for tests that talk to a real engine."""

import re
import socket
import threading
from collections.abc import Callable

START, END = b"\x0b", b"\x1c\r"
BOM = b"\xef\xbb\xbf"  # some files begin with it; the header behind it is read all the same


def control_id(content: bytes) -> bytes:
    """Return MSH-10 as it stands; ``b""`` where there is none."""
    content = content.removeprefix(BOM)
    first = re.split(rb"[\r\n]", content, maxsplit=1)[0]
    fields = first.split(content[3:4], 10) if content[:3] == b"MSH" and content[3:4] else []
    return fields[9] if len(fields) > 9 else b""


def accept_all(content: bytes) -> bytes:
    """Answer AA, in the message's own delimiters."""
    header = content.removeprefix(BOM)
    bar, encoding = header[3:4] or b"|", header[4:8] or b"^~\\&"
    return bar.join(
        (b"MSH", encoding, b"R", b"R", b"", b"", b"20260105101500", b"", b"ACK", b"R1", b"P", b"2.5\rMSA",
         b"AA", control_id(content) + b"\r")
    )  # fmt: skip


class Receiver:
    """Takes every message, keeps its bytes, answers as told."""

    def __init__(self, answer: Callable[[bytes], bytes] = accept_all) -> None:
        self.received: list[bytes] = []
        self.answer = answer
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        self.peers: list[socket.socket] = []
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        """Serve each connection in its own thread."""
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            self.peers.append(peer)
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer: socket.socket) -> None:
        """Take messages until the connection ends."""
        buffer = b""
        with peer:
            while True:
                try:
                    data = peer.recv(1 << 16)
                except OSError:
                    return
                if not data:
                    return
                *frames, buffer = (buffer + data).split(END)
                for frame in frames:
                    content = frame.removeprefix(START)
                    self.received.append(content)
                    try:
                        peer.sendall(START + self.answer(content) + END)
                    except OSError:
                        return

    def close(self) -> None:
        """Stop listening and end every connection."""
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for peer in self.peers:
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Line:
    """One connection to the engine."""

    def __init__(self, port: int) -> None:
        self.peer = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.buffer = b""

    def send(self, content: bytes) -> None:
        """Send one frame."""
        self.peer.sendall(START + content + END)

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.peer.sendall(data)

    def answer(self) -> bytes | None:
        """Return the next answer's content; None when the engine closed the connection."""
        while END not in self.buffer:
            data = self.peer.recv(1 << 16)
            if not data:
                return None
            self.buffer += data
        frame, _, self.buffer = self.buffer.partition(END)
        return frame.removeprefix(START)

    def close(self) -> None:
        """End the connection."""
        self.peer.close()


def answered(content: bytes) -> tuple[str, bytes]:
    """Return MSA-1 and MSA-2 of an acknowledgment."""
    at = content.find(b"\rMSA")
    fields = content[at + 5 :].split(b"\r", 1)[0].split(content[at + 4 : at + 5])
    return fields[0].decode("ascii"), fields[1] if len(fields) > 1 else b""
