"""`secrets: [sealed]`: values of the engine's own store, for ``${secret:NAME}`` of the site file."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ifengine.errors import EngineError
from ifengine.routes.config.filled import FilledText
from ifengine.routes.config.placeholders import Filler
from ifengine.store.secrets import FOLDER, SecretError, SecretStore
from ifengine.transforms.source import Entries, Problems, Text

_DEFAULT: Final = "file:var/keys/kek"


def sealed_secrets(directory: Path, merged: Entries, filler: Filler) -> Callable[[str], str | None]:
    """Return what looks up one secret by its name.

    Args:
        directory: the site's.
        merged: the site file with its overlay, not filled: it names the key.
        filler: fills the key's place; called before it can look for sealed secrets itself, so
            that the key does not depend on what it opens.

    Returns:
        A function that gives a value, None where there is none of that name, and raises
        EngineError where the key cannot be used or the value does not open.
    """
    kek_path = _kek_path(directory, merged, filler)
    store = SecretStore(directory / FOLDER)

    def look_up(name: str) -> str | None:
        from ifengine.store.keys import FileKek

        if not store.has(name):
            return None
        if kek_path is None:
            raise SecretError(f"the secret {name} is sealed, and keys.kek names no file")
        try:
            return store.get(name, FileKek(kek_path))
        except SecretError:
            raise
        except EngineError as error:
            raise SecretError(
                f"the secret {name} is sealed, and its key cannot be used: {error}",
                hint=error.hint,
            ) from None

    return look_up


def _kek_path(directory: Path, merged: Entries, filler: Filler) -> Path | None:
    keys = merged.get("keys")
    written = keys.get("kek") if isinstance(keys, Entries) else None
    text = _DEFAULT
    if isinstance(written, Text) and not written.is_null:
        aside = Filler(filler.directory, filler.environ, filler.sources)
        filled = aside.fill(written, Problems())
        if not isinstance(filled, Text) or (isinstance(filled, FilledText) and filled.missing):
            return None
        text = filled.value
    kind, _, rest = text.partition(":")
    return directory / rest if kind == "file" and rest else None
