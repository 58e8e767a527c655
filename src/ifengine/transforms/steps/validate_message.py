"""``validate``: compare the message with the standard, and with a profile of the site."""

import difflib
from functools import cache

from ifengine.hl7 import dictionary
from ifengine.transforms.base import Action, Reason, ReasonError, RejectedError, StepScope, Uses
from ifengine.transforms.reading import Built, Context
from ifengine.transforms.source import Node
from ifengine.transforms.validation import Validation
from ifengine.transforms.validation_findings import summary
from ifengine.transforms.validation_profile import Profile
from ifengine.transforms.validation_segments import Level

_EXAMPLE = "validate: {structure: ORM_O01, level: standard, on_fail: nak}"
_OPTIONAL = ("structure", "version", "level", "on_fail", "profile")
_ON_FAIL = ("nak", "dead_letter", "warn")
VARIABLE = "validation"  # `warn`: how many rules are broken


def build(value: Node, context: Context) -> Built | None:
    """Read ``{structure, version, level, on_fail, profile}``; all may be left out."""
    given = context.parameters(value, required=(), optional=_OPTIONAL, example=_EXAMPLE)
    if given is None:
        return None
    levels = tuple(level.value for level in Level)
    level = context.word(given.get("level"), "level", levels, Level.STANDARD)
    on_fail = context.word(given.get("on_fail"), "on_fail", _ON_FAIL, "dead_letter")
    version = _version(given.get("version"), context)
    structure = _structure(given.get("structure"), context)
    profile, known = _profile(given.get("profile"), context)
    if on_fail == "warn":
        context.variables.add(VARIABLE)
    if level is None or on_fail is None or version is None or structure is None or not known:
        return None
    validation = Validation(
        structure=structure, version=version, level=Level(level), profile=profile
    )
    uses = Uses(
        tables=() if profile is None else profile.tables(),
        sets_variables=(VARIABLE,) if on_fail == "warn" else (),
    )
    detail = " ".join(part for part in (structure, level, profile.name if profile else "") if part)
    return Built(_action(validation, on_fail), uses, detail)


def _action(validation: Validation, on_fail: str) -> Action:
    def act(scope: StepScope) -> None:
        found = validation.findings(scope.message, scope.tables)
        if on_fail == "warn":
            scope.variables[VARIABLE] = str(len(found))
            for finding in found:
                scope.note(finding.text)
            return
        if not found:
            return
        reason = Reason(summary(found), "; ".join(finding.text for finding in found))
        if on_fail == "nak" and scope.sender_waits:
            errors = tuple(finding.for_sender() for finding in found)
            raise RejectedError("AE", reason, errors=errors)
        raise ReasonError(reason.safe, reason.full)

    return act


@cache
def _structures() -> frozenset[str]:
    return frozenset(name for one in dictionary.versions() for name in dictionary.structures(one))


def _structure(node: Node | None, context: Context) -> str | None:
    if node is None:
        return ""
    text = context.text(node, "structure")
    if text is None or text.value in _structures():
        return None if text is None else text.value
    near = difflib.get_close_matches(text.value.upper(), sorted(_structures()), 1)
    hint = f'did you mean "{near[0]}"?' if near else "a name of table 0354, such as ADT_A01"
    context.error("E103", text.position, f'"{text.value}" is no message structure', hint)
    return None


def _version(node: Node | None, context: Context) -> str | None:
    return context.word(node, "version", dictionary.versions(), "")


def _profile(node: Node | None, context: Context) -> tuple[Profile | None, bool]:
    """Return the profile, and whether what is written is good."""
    if node is None:
        return None, True
    text = context.text(node, "profile")
    if text is None:
        return None, False
    found = context.known.profiles.get(text.value)
    if found is None:
        near = difflib.get_close_matches(text.value, context.known.profiles, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"put it into profiles/{text.value}.yaml"
        context.error("E320", text.position, f'there is no profile "{text.value}"', hint)
    return found, found is not None
