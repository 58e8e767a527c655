"""The real YAML language server over its standard streams, as an editor talks to it."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from requirements import require

Message = dict[str, Any]
WARNING = 2  # of the protocol's severities: error, warning, information, hint


class LanguageServer:
    """One server, one editor: requests are answered in order, and everything is awaited."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._next = 0
        self._diagnostics: dict[str, list[Message]] = {}

    def _send(self, message: Message) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _receive(self) -> Message:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the server has gone"
        message: Message = json.loads(self._process.stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            asked = message["params"].get("items", []) if message.get("params") else []
            result = [_setting(item.get("section")) for item in asked]
            self._send({"id": message["id"], "result": result or None})
        return message

    def ask(self, method: str, params: Message) -> Any:
        """Send a request and return its result."""
        self._next += 1
        mine = self._next
        self._send({"id": mine, "method": method, "params": params})
        while True:
            message = self._receive()
            if message.get("id") == mine and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def tell(self, method: str, params: Message) -> None:
        """Send what wants no answer."""
        self._send({"method": method, "params": params})

    def open(self, file: Path, text: str) -> list[Message]:
        """Open a file, once, with this text; return what the editor would mark."""
        uri = file.as_uri()
        assert uri not in self._diagnostics
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        while uri not in self._diagnostics:
            self._receive()
        return self._diagnostics[uri]

    def complete(self, file: Path, line: int, character: int) -> list[Message]:
        """Return what is offered at a place (from 0)."""
        found = self.ask("textDocument/completion", _place(file, line, character))
        items: list[Message] = found["items"] if isinstance(found, dict) else found or []
        return items

    def hover(self, file: Path, line: int, character: int) -> str:
        """Return what is shown at a place (from 0)."""
        found = self.ask("textDocument/hover", _place(file, line, character))
        return "" if found is None else str(found["contents"]["value"])


def _place(file: Path, line: int, character: int) -> Message:
    return {
        "textDocument": {"uri": file.as_uri()},
        "position": {"line": line, "character": character},
    }


def _setting(section: str | None) -> Message | None:
    if section != "yaml":
        return None
    # nothing of the internet: schemas are those that the files name
    return {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}


def names(items: Sequence[Message]) -> set[str]:
    """Return the labels of what is offered."""
    return {item["label"] for item in items}


@contextmanager
def language_server(folder: Path) -> Iterator[LanguageServer]:
    """Run the server on a folder."""
    server = require("npm:yaml-language-server") / "bin" / "yaml-language-server"
    with subprocess.Popen(
        [str(require("program:node")), str(server), "--stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    ) as process:
        try:
            running = LanguageServer(process)
            item = {"completionItem": {"snippetSupport": True}}
            capabilities = {
                "workspace": {"configuration": True},
                "textDocument": {
                    "hover": {"contentFormat": ["markdown", "plaintext"]},
                    "completion": item,
                    "publishDiagnostics": {},
                },
            }
            running.ask(
                "initialize",
                {"processId": None, "rootUri": folder.as_uri(), "capabilities": capabilities},
            )
            running.tell("initialized", {})
            yield running
        finally:
            process.kill()
