"""What changed between two configurations, in words for the person who reloads. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from ifengine.routes.config.loading import Loaded
from ifengine.routes.config.models import SiteConfig
from ifengine.routes.config.node_diff import diff_nodes
from ifengine.transforms.tables import Table

# what cannot change while messages are under way: the attribute, and how the file calls it
_FIXED = (
    ("site", "site"),
    ("store_path", "store.path"),
    ("kek", "keys.kek"),
    ("admin_socket", "listen.admin"),
    ("metrics_host", "listen.metrics"),
    ("metrics_port", "listen.metrics"),
    ("environment", "environment"),
)


def needs_restart(old: SiteConfig, new: SiteConfig) -> tuple[str, ...]:
    """Return the keys that differ and that only a restart can change."""
    found = [
        name for attribute, name in _FIXED if getattr(old, attribute) != getattr(new, attribute)
    ]
    return tuple(dict.fromkeys(found))


def changes(old: Loaded, new: Loaded) -> tuple[str, ...]:
    """Return one sentence for everything that differs; none where the two say the same."""
    if old.site is None or new.site is None:
        return ()
    return (
        *_named("channel", old.written, new.written),
        *_channels(old, new),
        *_tables(old.site.tables, new.site.tables),
        *_connections(old.site, new.site),
        *_identity(old.site, new.site),
        *_files(old, new),
    )


def _named(what: str, old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    before, after = set(old), set(new)
    for name in sorted(after - before):
        yield f"{name}: a new {what}"
    for name in sorted(before - after):
        yield f"{name}: the {what} goes"


def _channels(old: Loaded, new: Loaded) -> Iterator[str]:
    for name in sorted(set(old.written) & set(new.written)):
        counts: dict[str, int] = {}
        for change in diff_nodes(old.written[name], new.written[name]):
            part = _part(change.path)
            counts[part] = counts.get(part, 0) + 1
        if counts:
            listed = ", ".join(
                f"{count} {'change' if count == 1 else 'changes'} in {part}"
                for part, count in sorted(counts.items())
            )
            yield f"{name}: {listed}"


def _part(path: str) -> str:
    """Return which part of a channel a path is in: ``to.lab.steps[2]`` is ``to lab``."""
    words = path.replace("[", ".").split(".")
    return f"to {words[1]}" if words[0] == "to" and len(words) > 1 else words[0]


def _tables(old: Mapping[str, Table], new: Mapping[str, Table]) -> Iterator[str]:
    yield from (f"table {line}" for line in _named("table", old, new))
    for name in sorted(set(old) & set(new)):
        before, after = old[name], new[name]
        if before == after:
            continue
        added = sum(key not in before.rows for key in after.rows)
        gone = sum(key not in after.rows for key in before.rows)
        other = sum(
            before.rows[key] != row for key, row in after.rows.items() if key in before.rows
        )
        listed = [
            f"{count} {'row' if count == 1 else 'rows'} {word}"
            for count, word in ((added, "new"), (other, "changed"), (gone, "gone"))
            if count
        ]
        yield f"table {name}: {', '.join(listed) or 'other columns or open rows'}"


def _connections(old: SiteConfig, new: SiteConfig) -> Iterator[str]:
    for before, after, what in (
        (old.listeners, new.listeners, "listener"),
        (old.senders, new.senders, "sender"),
    ):
        yield from (f"connection {line}" for line in _named(what, before, after))
        for name in sorted(set(before) & set(after)):
            mine, theirs = before[name], after[name]
            if mine == theirs:
                continue
            moved = (mine.host, mine.port) != (theirs.host, theirs.port)
            yield f"connection {name}: " + ("another address" if moved else "other settings")


def _identity(old: SiteConfig, new: SiteConfig) -> Iterator[str]:
    if old.identity != new.identity:
        yield "identity: who is one patient is defined differently"
    if old.facts != new.facts:
        yield "facts: what is shared, or for how long, is different"


def _files(old: Loaded, new: Loaded) -> Iterator[str]:
    """Name files beside the channels that differ: snippets, functions, profiles, samples."""
    told = ("ifengine.yaml", "env/")
    for name in sorted(set(old.lines) | set(new.lines)):
        beside = name.startswith("channels/") and name.count("/") > 1
        if name.startswith("channels/tables/") or not (beside or name.startswith(told)):
            continue
        if old.lines.get(name) != new.lines.get(name):
            yield f"{name}: changed"
