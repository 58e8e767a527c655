"""The files of a configuration as one text, as the store keeps them sealed with its version. Pure."""

from ifengine.routes.config.loading import Loaded
from ifengine.store.sealing import BlobKind, KeyRing


def sealed_files(
    loaded: Loaded, digest: str, version: int, ring: KeyRing
) -> list[tuple[int, bytes]]:
    """Return a version's files, sealed; none where they are no longer those with this digest."""
    if loaded.site is None or loaded.site.digest != digest:
        return []
    return [(version, ring.seal(BlobKind.CONFIG, version, 0, pack(loaded)))]


def pack(loaded: Loaded) -> bytes:
    """Return the files of a configuration as one text, to be kept sealed with its version."""
    parts = []
    for name in sorted(loaded.lines):
        lines = loaded.lines[name]
        parts.append(f"{name} {len(lines)}\n" + "".join(f"{line}\n" for line in lines))
    return "".join(parts).encode("utf-8", "replace")


def unpack(content: bytes) -> dict[str, tuple[str, ...]]:
    """Undo ``pack``."""
    lines = content.decode().split("\n")
    found: dict[str, tuple[str, ...]] = {}
    at = 0
    while at < len(lines) - 1:
        name, _, count = lines[at].rpartition(" ")
        found[name] = tuple(lines[at + 1 : at + 1 + int(count)])
        at += 1 + int(count)
    return found
