"""`from:` of a channel: connections that listen, or a folder of files."""

from pathlib import Path
from typing import Final, NamedTuple

from ifengine.routes.config.keys_common import DURATION, FILE, NAME, WORD
from ifengine.routes.config.keys_connection import INLINE_LISTEN
from ifengine.routes.config.kinds import BAD, want_text
from ifengine.routes.config.models import FilesSource
from ifengine.routes.config.sections import Key, Section, SectionKind, read_section
from ifengine.routes.config.site_file import resolve
from ifengine.transforms.source import Entries, Items, Problems, Text

FROM_FILES: Final = (
    Key(
        name="dir",
        kind=FILE,
        meaning="Folder to read, from the site's.",
        example="var/hub/in",
        required=True,
    ),
    Key(
        name="pattern",
        kind=WORD,
        default='"*.hl7"',
        meaning="Which names; the others are left alone.",
        example='"*.hl7"',
    ),
    Key(
        name="stable_for",
        kind=DURATION,
        default="10s",
        meaning="A file counts when it did not change for this long.",
        example="10s",
    ),
    Key(
        name="every",
        kind=DURATION,
        default="5s",
        meaning="How often the folder is looked at.",
        example="5s",
    ),
    Key(
        name="done",
        kind=FILE,
        meaning="Folder for files whose messages are on disk.",
        example="var/hub/done",
        required=True,
    ),
    Key(
        name="bad",
        kind=FILE,
        meaning="Folder for files that could not be taken; each has a dead letter.",
        example="var/hub/bad",
        required=True,
    ),
)

FROM: Final = (
    Key(
        name="files",
        kind=SectionKind(FROM_FILES, "a map of dir, done and bad"),
        meaning="A folder whose files hold messages.",
        example='{dir: var/hub/in, pattern: "*.hl7", done: var/hub/done, bad: var/hub/bad}',
    ),
    Key(
        name="mllp",
        kind=SectionKind(INLINE_LISTEN, "a map of port and plaintext or tls"),
        meaning="A connection of this channel alone, for a first try: places belong into the site "
        "file, where an environment can change them.",
        example="{port: 2575, plaintext: a first try}",
    ),
)


CHANNELS: Final = "channels"


class Sources(NamedTuple):
    """Where a channel's messages come from: names of connections, other channels, or a folder."""

    connections: tuple[str, ...] = ()
    files: FilesSource | None = None
    channels: bool = False
    mllp: Section | None = None  # a connection that is written in the channel


def inline_name(channel: str, destination: str = "mllp") -> str:
    """Return the name of a connection that a channel describes itself; no other can have it."""
    return f"{channel}.{destination}"


def read_sources(section: Section, directory: Path, problems: Problems) -> Sources:
    """Read `from:`: a name, a list of names, or ``{files: …}``.

    The name ``channels`` stands for those that hand messages over: `to: {NAME: {channel: X}}`.
    """
    node = section.nodes.get("from")
    if node is None:
        return Sources()
    if isinstance(node, Entries):
        return _files(node, directory, problems)
    written = node.items if isinstance(node, Items) else (node,)
    names: list[str] = []
    for item in written:
        found = NAME.read("from", item, problems)
        if found is BAD or not isinstance(item, Text):
            continue
        if found in names:
            problems.error("E002", item.position, f'"{found}" is named twice')
        names.append(str(found))
    if not written:
        want_text("from", "the name of a connection", node, problems)
    return Sources(tuple(name for name in names if name != CHANNELS), channels=CHANNELS in names)


def _files(node: Entries, directory: Path, problems: Problems) -> Sources:
    outer = read_section(FROM, node, problems)
    if outer.says("mllp"):
        if outer.says("files"):
            problems.error("E102", outer.keys["files"].position, '"from" has both files and mllp')
        return Sources(mllp=outer.get("mllp"))
    said: Section | None = outer.get("files")
    if said is None:
        if not outer.says("files") and not outer.keys:
            problems.error("E104", node.position, '"from" takes the name of a connection, or files')
        return Sources()
    folders = [said.get(name) for name in ("dir", "done", "bad")]
    if None in folders:
        return Sources()
    inbox, done, bad = (resolve(directory, folder) for folder in folders)
    if len({inbox, done, bad}) < 3:
        problems.error("E103", said.position, "dir, done and bad are three different folders")
    return Sources(
        files=FilesSource(
            directory=inbox,
            done=done,
            bad=bad,
            pattern=said.get("pattern", "*.hl7"),
            stable_seconds=said.get("stable_for", 10.0),
            every_seconds=said.get("every", 5.0),
        )
    )
