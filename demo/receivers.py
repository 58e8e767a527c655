"""The receiving systems of the demonstration: they answer, and keep a log of their own."""

import socket
import threading
from collections import Counter
from collections.abc import Callable

START, END = b"\x0b", b"\x1c\r"


class Receiver:
    """One receiving system. Refuses patients it was told not to know, and what ``refuses`` names."""

    def __init__(self, name: str, refuses: Callable[[bytes], bool]) -> None:
        self.name = name
        self.refuses = refuses
        self.delivered: list[str] = []  # control ids it took over, in order
        self.patients: dict[str, str] = {}  # control id -> PID-3.1 as it came
        self.refused: list[str] = []
        self.strangers: set[str] = set()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        """Serve every connection in a thread of its own."""
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer: socket.socket) -> None:
        """Take messages until the connection ends."""
        buffer = b""
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                try:
                    data = peer.recv(65536)
                    if not data:
                        return
                    *frames, buffer = (buffer + data).split(END)
                    for frame in frames:
                        peer.sendall(START + self.take(frame.removeprefix(START)) + END)
                except OSError:
                    return

    def take(self, content: bytes) -> bytes:
        """Note one message and return the acknowledgment."""
        header = content.split(b"\r", 1)[0].split(b"|")
        control = header[9].decode()
        patient = content.partition(b"\rPID|")[2].split(b"|", 3)[2].split(b"^", 1)[0].decode()
        code, more = "AA", ""
        if patient in self.strangers:
            code, more = "AE", "ERR||PID^1^3|204^Unknown key identifier^HL70357|E\r"
            self.refused.append(control)
        elif self.refuses(content):
            code, more = "AR", "ERR||OBR^1^4|207^Application internal error^HL70357|E\r"
            self.refused.append(control)
        else:
            self.delivered.append(control)
            self.patients[control] = patient
        return (
            f"MSH|^~\\&|{self.name.upper()}|RIVERSIDE|||20260105101500||ACK|{self.name}{len(self.delivered)}|P|2.5.1\r"
            f"MSA|{code}|{control}\r{more}"
        ).encode()

    def repeats(self) -> list[str]:
        """Return what it took over more than once."""
        return [control for control, count in Counter(self.delivered).items() if count > 1]

    def close(self) -> None:
        """Stop listening."""
        self.server.close()
