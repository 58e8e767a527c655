"""``deidentify``: a copy without what identifies a person, by one vetted profile."""

from functools import cache

from ifengine.hl7.path import Path, Where, parse_path
from ifengine.transforms.base import Uses
from ifengine.transforms.deidentify import Deidentifier
from ifengine.transforms.deidentify_fields import COMMENTS, IDENTIFIERS, SAFE, TREATED
from ifengine.transforms.deidentify_names import KeyedNames, MakeNames, RandomNames
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node, Text

_EXAMPLE = "deidentify: {profile: safe-harbor, keep: [PID-8]}"
_KEY_EXAMPLE = 'key: "${secret:NAME}"'
_PROFILES = ("safe-harbor", "pseudonym")
SHORTEST_KEY = 16  # characters: a shorter one can be found by trying


def build(value: Node, context: Context) -> Built | None:
    """Read ``{profile, key, keep, free_text}``."""
    given = context.parameters(
        value,
        required=("profile",),
        optional=("key", "keep", "free_text"),
        example=_EXAMPLE,
    )
    if context.loops:
        context.error("E306", context.at, "deidentify works on the whole message, not in for_each")
        return None
    if given is None:
        return None
    profile = context.word(given["profile"], "profile", _PROFILES, "")
    text = context.word(given.get("free_text"), "free_text", ("remove", "keep"), "remove")
    if profile is None or text is None:
        return None
    is_safe_harbor = profile == "safe-harbor"
    free_text = text == "keep"
    if free_text and is_safe_harbor:
        at = given["free_text"].position
        message = "free text may hold any identifier: this copy is not safe harbor by itself"
        context.problems.warning("W331", at, message, "remove it, or have it reviewed")
    keep = _keep(given.get("keep"), context, is_safe_harbor=is_safe_harbor)
    names = _names(given.get("key"), context, is_safe_harbor=is_safe_harbor)
    if names is None:
        return None
    stays = [name for name in SAFE if free_text or name not in COMMENTS]
    keeps = tuple(dict.fromkeys([*stays, *(path.segment for path in keep)]))
    uses = Uses(reads=keep, writes=_treated(), keeps=keeps)
    return Built(Deidentifier(names, keep, free_text), uses, profile)


@cache
def _treated() -> tuple[Path, ...]:
    """Return every field that the profiles write."""
    return tuple(
        parse_path(f"{segment}-{number}")
        for segment, rules in SAFE.items()
        for number, rule in rules.items()
        if rule in TREATED
    )


def _names(node: Node | None, context: Context, *, is_safe_harbor: bool) -> MakeNames | None:
    """Return what makes pseudonyms. The key is never quoted."""
    secret = None
    if node is not None:
        # safe harbor derives no codes: a key that is written has no effect
        secret = context.secret(node, "key", is_used=not is_safe_harbor)
        if secret is None:
            return None
    if is_safe_harbor:
        return RandomNames
    if node is None or secret is None:
        hint = f"as in {_KEY_EXAMPLE}"
        context.error("E102", context.at, "the profile pseudonym needs a key", hint)
        return None
    if len(secret) < SHORTEST_KEY:
        message = f"the key is shorter than {SHORTEST_KEY} characters"
        hint = "make it of random characters, 32 or more"
        context.error("E332", node.position, message, hint)
        return None
    key = secret.encode("utf-8", "surrogatepass")
    return lambda scope: KeyedNames(key)


def _keep(node: Node | None, context: Context, *, is_safe_harbor: bool) -> tuple[Path, ...]:
    found: list[Path] = []
    for text in [] if node is None else context.texts(node, "path"):
        path = context.field(text, written=True)
        if path is None:
            continue
        if _identifies(path):
            _report(path, text, context, is_safe_harbor=is_safe_harbor)
        found.append(path)
    return tuple(found)


def _report(path: Path, text: Text, context: Context, *, is_safe_harbor: bool) -> None:
    if is_safe_harbor:
        message = f"{path.text} identifies a person: safe harbor cannot keep it"
        context.error(
            "E331", text.at(0), message, "leave it out; dates, ZIP codes and numbers stay in part"
        )
    else:
        message = f"{path.text} identifies a person: an expert must have agreed to it"
        context.problems.warning("W331", text.at(0), message)


def _identifies(path: Path) -> bool:
    """Whether a place is one of the identifiers, or is treated because it is.

    OBX-5 of observations that are chosen by a condition was looked at by whoever wrote it.
    """
    number = path.field or 0
    if path.segment == "OBX" and number == 5:
        return not isinstance(path.head.index, Where)
    if number in IDENTIFIERS.get(path.segment, ()):
        return True
    return SAFE.get(path.segment, {}).get(number) in TREATED
