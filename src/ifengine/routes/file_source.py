"""A folder as a source: each file's messages are on disk before the file moves to `done`.

A file counts when it did not change for a while. All its messages are one transaction, together
with a mark that this file was taken: after a crash between the commit and the move it is only
moved. A file whose counts do not agree is one dead letter and goes to `bad`.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from ifengine.hl7.batch import split_batch
from ifengine.hl7.header import Header, read_header
from ifengine.routes.channel_intake import ChannelIntake
from ifengine.routes.config.models import ChannelConfig, FilesSource
from ifengine.routes.gates import TAG_ONLY, Gates
from ifengine.routes.giants import Ahead, ahead_of
from ifengine.routes.parts import Parts
from ifengine.routes.received import Received
from ifengine.store.base import GuardVerdict, InboxKind, NewInboxEntry
from ifengine.store.sealing import BlobKind
from ifengine.transforms.memory import Change, Remembered, Space

T = TypeVar("T")

MOST_FILE_BYTES = 128 * 1024 * 1024
STOP_LOOKED_FOR_SECONDS = 0.2  # an engine that stops does not wait for the next look
MARK_SECONDS = 30 * 86_400
SEVERAL = "several messages in one file: `unbatch` splits them"
TOO_LARGE = "the file is too large"
NOTHING = "no message in the file"


class Found(NamedTuple):
    """One file as it was read."""

    name: str
    size: int
    changed_ns: int
    content: bytes

    def __repr__(self) -> str:
        return f"<Found {self.size} bytes>"


@dataclass(slots=True)
class _Seen:
    size: int
    changed_ns: int
    since: float


class FileSource:
    """Looks at one channel's folder, and takes what lies there."""

    def __init__(self, parts: Parts, intake: ChannelIntake, listener: int) -> None:
        config = intake.channel.config
        if config.files_source is None:
            raise ValueError("the channel reads no files")
        self._parts = parts
        self._intake = intake
        self._config: ChannelConfig = config
        self._source: FilesSource = config.files_source
        self._listener = listener
        self._gates = Gates(None, [config])
        self._seen: dict[str, _Seen] = {}
        self.failed = ""  # why the folder cannot be read, safe; "": it can
        self.stopped = False
        self.paused = False  # the disk is low: files lie where they are
        self._made = False  # the folders, as far as they were missing

    @property
    def channel(self) -> str:
        """The name of the channel that reads here."""
        return self._config.name

    @property
    def source(self) -> FilesSource:
        """The folder and how it is looked at."""
        return self._source

    def switch(self, config: ChannelConfig) -> None:
        """Go by another configuration of the same channel and folder."""
        self._config = config
        self._gates = Gates(None, [config])

    async def run(self) -> None:
        """Look until the engine stops."""
        parts = self._parts
        while not parts.stopping and not self.stopped:
            if not self.paused:
                await self.look()
            again = parts.clock.monotonic() + self._source.every_seconds
            while not parts.stopping and not self.stopped and parts.clock.monotonic() < again:
                left = again - parts.clock.monotonic()
                await parts.clock.sleep(max(0.0, min(STOP_LOOKED_FOR_SECONDS, left)))

    async def look(self) -> int:
        """Take every file that has not changed for long enough; return how many were."""
        now = self._parts.clock.monotonic()
        try:
            if not self._made:
                await self._in_thread(self._make_folders)
                self._made = True
            listed = await self._in_thread(self._list)
            self.failed = ""
        except OSError as error:
            self.failed = error.strerror or "cannot be read"
            return 0
        taken = 0
        seen: dict[str, _Seen] = {}
        for name, size, changed_ns in listed:
            before = self._seen.get(name)
            same = before is not None and (before.size, before.changed_ns) == (size, changed_ns)
            seen[name] = before if same and before else _Seen(size, changed_ns, now)
        self._seen = seen
        for name, last in sorted(seen.items()):
            if now - last.since < self._source.stable_seconds or self._parts.stopping:
                continue
            if self.paused:
                break
            found = await self._in_thread(partial(self._read, name))
            if found is None or (found.size, found.changed_ns) != (last.size, last.changed_ns):
                continue  # it changed, or is gone: looked at again the next time
            await self._take(found)
            taken += 1
        return taken

    # --- the folder: blocking, in a thread ----------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._parts.loop.run_in_executor(None, work)

    def _make_folders(self) -> None:
        source = self._source
        for folder in (source.directory, source.done, source.bad):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _list(self) -> list[tuple[str, int, int]]:
        found = []
        with os.scandir(self._source.directory) as entries:
            for entry in entries:
                if fnmatchcase(entry.name, self._source.pattern) and entry.is_file(
                    follow_symlinks=False
                ):
                    state = entry.stat(follow_symlinks=False)
                    found.append((entry.name, state.st_size, state.st_mtime_ns))
        return found

    def _read(self, name: str) -> Found | None:
        try:
            with (self._source.directory / name).open("rb") as file:
                content = file.read(MOST_FILE_BYTES + 1)
                state = os.fstat(file.fileno())
        except OSError:
            return None
        return Found(name, state.st_size, state.st_mtime_ns, content)

    def _move(self, found: Found, folder: Path, number: int) -> None:
        place = self._source.directory / found.name
        state = place.stat()
        if (state.st_size, state.st_mtime_ns) != (found.size, found.changed_ns):
            return  # another file of this name came meanwhile: it is taken in its turn
        target = folder / found.name
        if target.exists():
            target = folder / f"{found.name}-{number}"
        place.rename(target)
        for changed in (folder, self._source.directory):
            handle = os.open(changed, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    # --- taking -------------------------------------------------------------------------------

    async def _take(self, found: Found) -> None:
        parts, memories = self._parts, self._parts.memories
        digest = await self._in_thread(lambda: hashlib.sha256(found.content).hexdigest())
        mark = (self._config.name, found.name, str(found.changed_ns), digest)
        before = None if memories is None else memories.look_up(Space.FILE, mark)
        if before is not None:
            good = before.value == "done"
            await self._put_away(found, good=good, number=before.message)
            return
        messages, reason = await self._in_thread(partial(self._split, found.content))
        ahead = [await ahead_of(parts, content) for content in messages]
        # from here to the batch nothing is awaited: numbers are committed in their order
        entries = [
            self._entry(content, reason, before)
            for content, before in zip(messages, ahead, strict=True)
        ]
        first = entries[0][0].inbox_id if entries else parts.numbers.inbox_id
        batch = parts.group.batch
        batch.inbox.extend(entry for entry, _ in entries)
        now_us = parts.steady.now_us()
        if memories is not None:
            value = "bad" if reason else "done"
            until_us = now_us + MARK_SECONDS * 1_000_000
            kept = Remembered(value, first, now_us, until_us)
            memories.write(batch, [Change(Space.FILE, mark, kept)])
        batch.done.append(partial(self._committed, list(zip(entries, messages, strict=True))))
        await parts.group.durable()
        await self._put_away(found, good=not reason, number=first)

    async def _put_away(self, found: Found, *, good: bool, number: int) -> None:
        folder = self._source.done if good else self._source.bad
        try:
            await self._in_thread(partial(self._move, found, folder, number))
        except OSError as error:
            self.failed = error.strerror or "cannot be moved"  # tried again at the next look

    def _split(self, content: bytes) -> tuple[Sequence[bytes], str]:
        """Return a file's messages; or the file as one, and why it cannot be taken."""
        if len(content) > MOST_FILE_BYTES:
            return [content[:MOST_FILE_BYTES]], TOO_LARGE
        found = split_batch(content)
        if not self._config.unbatch:
            if found.is_batch or len(found.messages) > 1:
                return [content], SEVERAL
            return (found.messages, "") if found.messages else ([content], NOTHING)
        if found.faults and self._config.check_counts:
            return [content], found.faults[0].value
        if not found.messages and not found.is_batch:
            return [content], NOTHING
        return found.messages, ""

    def _entry(
        self, content: bytes, reason: str, ahead: Ahead | None
    ) -> tuple[NewInboxEntry, Header]:
        parts, intake = self._parts, self._intake
        ring = parts.ring
        header = read_header(content)
        gate = self._gates.decide(header)
        kind = gate.kind
        if reason or kind is InboxKind.REJECTED:
            # nobody waits for an answer: what a listener refuses is a dead letter here
            kind, reason = InboxKind.MESSAGE, reason or gate.reason
        inbox_id = parts.numbers.next_inbox_id()
        entry = NewInboxEntry(
            inbox_id=inbox_id,
            received_us=parts.steady.stamp(inbox_id),
            listener=self._listener,
            channel=intake.number,
            kind=kind,
            size=len(content),
            peer="file",
            sealed=(
                ring.seal(BlobKind.INBOX, inbox_id, 0, content)
                if ahead is None
                else ring.place(BlobKind.INBOX, inbox_id, 0, ahead.sealed)
            ),
            reason=reason or gate.reason,
            giant=0 if ahead is None else ahead.sealed.giant,
        )
        if kind in (InboxKind.MESSAGE, InboxKind.UNROUTED) and not reason and header.control_id:
            entry.guard_key = ring.tag(
                "guard",
                self._config.name.encode() + b".files",
                header.sending_application,
                header.sending_facility,
                header.control_id,
            )
            entry.digest = ring.digest(content) if ahead is None else ahead.digest
            entry.guard_at_us = parts.steady.now_us()
            entry.tag_only = header.message_code in TAG_ONLY
            entry.guard_window_us = intake.window_us
        return entry, header

    def _committed(self, taken: list[tuple[tuple[NewInboxEntry, Header], bytes]]) -> None:
        """The messages are on stable storage: their channel gets them, in the order of the file."""
        intake = self._intake
        now = self._parts.clock.monotonic()
        for (entry, header), content in taken:
            intake.count_received(header, len(content), entry.received_us, now)
            if entry.verdict is GuardVerdict.DUPLICATE:
                intake.duplicates.inc()
            elif entry.kind is InboxKind.MESSAGE:
                intake.pipeline.feed(
                    Received(
                        entry.inbox_id,
                        entry.received_us,
                        content,
                        entry.verdict,
                        None if entry.reason else header,
                        listener=entry.listener,
                        reason=entry.reason,
                    )
                )
