"""``number``: round and scale numbers. Decimal throughout: what is written is what was meant."""

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal

from ifengine.hl7.path import Path
from ifengine.hl7.quantities import read_number, split_comparator
from ifengine.transforms import reading
from ifengine.transforms.base import ReasonError, StepScope, Uses
from ifengine.transforms.reading import Built
from ifengine.transforms.reading_values import in_place_paths, whole_number
from ifengine.transforms.source import Node
from ifengine.transforms.writing import change_in_place

_EXAMPLE = "number: {in: OBX-5, times: 0.001, decimals: 2}"
_EXACT = Context(prec=200)  # no value and no factor has more digits than fit
# what is below a limit is below the next number up, and the other way round
_ROUNDING = {"<": ROUND_CEILING, ">": ROUND_FLOOR}


def build(value: Node, context: reading.Context) -> Built | None:
    """Read ``{in, decimals, times, bad}``; ``bad: dead_letter``, the default, is for what is no number."""
    given = context.parameters(
        value, required=("in",), optional=("decimals", "times", "bad"), example=_EXAMPLE
    )
    if given is None:
        return None
    paths = in_place_paths(given["in"], context)
    if "decimals" not in given and "times" not in given:
        context.error("E102", context.at, 'number needs "decimals" or "times"', _EXAMPLE)
        return None
    decimals: int | None = None
    if "decimals" in given:
        decimals = whole_number(given["decimals"], "decimals", context, least=0, most=20)
        if decimals is None:
            return None
    times = _factor(given.get("times"), context)
    bad = context.word(given.get("bad"), "bad", ("dead_letter", "keep"), "dead_letter")
    if times is None or bad is None:
        return None
    keeps = bad == "keep"
    actions = [change_in_place([path], _change(path, times, decimals, keeps)) for path in paths]

    def act(scope: StepScope) -> None:
        for action in actions:
            action(scope)

    return Built(act, Uses(writes=tuple(paths)))


def _factor(node: Node | None, context: reading.Context) -> Decimal | None:
    if node is None:
        return Decimal(1)
    text = context.text(node, "times")
    if text is None:
        return None
    factor = None if "," in text.value else read_number(text.value)
    if factor is None or factor <= 0:
        context.error("E104", text.position, "times is a number above zero", "0.001")
        return None
    return factor


def _change(path: Path, times: Decimal, decimals: int | None, keeps: bool) -> Callable[[str], str]:
    def change(text: str) -> str:
        found = split_comparator(text)
        if found is None:
            if keeps:
                return text
            raise ReasonError(f"{path.text} is not a number")
        sign, number = found
        return sign + number_text(_EXACT.multiply(number, times), decimals, sign)

    return change


def number_text(number: Decimal, decimals: int | None, sign: str = "") -> str:
    """Return a number in plain digits; halves are rounded away from zero, a limit outwards."""
    if decimals is not None:
        rounding = _ROUNDING.get(sign[:1], ROUND_HALF_UP)
        number = number.quantize(Decimal(1).scaleb(-decimals), rounding, _EXACT)
    return f"{abs(number) if number.is_zero() else number:f}"
