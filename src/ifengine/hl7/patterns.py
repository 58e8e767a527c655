r"""Regular expressions that cannot explode: no backtracking, time linear in the text.

The subset: characters, ``.``, classes, ``\d \w \s`` and their opposites, ``^ $``, groups, ``|``,
``* + ? {n,m}``. Backreferences and lookaround do not exist here. A text is run through sets of states,
remembered as they are met, so that ``(a+)+$`` costs no more than ``a+$``.
"""

from collections.abc import Callable

from ifengine.errors import NotationError

MAX_PATTERN = 500
MAX_SUBJECT = 100_000
MAX_REPLACED = 2_048
_MAX_STATES = 4_000
_MAX_COUNT = 200
_MAX_DEPTH = 50
_REMEMBERED = 2_000

_CHAR, _SPLIT, _START, _END, _MATCH, _SAVE = range(6)
Accepts = Callable[[str], bool]
_CLASSES: dict[str, Accepts] = {
    "d": lambda c: "0" <= c <= "9",
    "w": lambda c: c.isalnum() or c == "_",
    "s": lambda c: c in " \t\n\r\f\v",
}
_PLAIN = {"n": "\n", "r": "\r", "t": "\t"}


class _Compiler:
    """Recursive descent straight into states; a fragment is (first, open ends)."""

    def __init__(self, text: str, fold: bool, groups: bool) -> None:
        self.text, self.at, self.fold, self.depth = text, 0, fold, 0
        self.groups = groups
        self.numbers: dict[int, int] = {}  # place of a ( -> number of its group
        self.saves: dict[int, int] = {}  # state -> place in what was captured
        self.kinds: list[int] = []
        self.accepts: list[Accepts | None] = []
        self.after: list[list[int]] = []

    def compile(self) -> int:
        first, ends = self.alternatives()
        if self.at < len(self.text):
            raise NotationError("a ) without its (", self.at)
        self.patch(ends, self.state(_MATCH))
        return first

    def state(self, kind: int, accepts: Accepts | None = None) -> int:
        if len(self.kinds) >= _MAX_STATES:
            raise NotationError("this expression is too large", min(self.at, len(self.text)))
        self.kinds.append(kind)
        self.accepts.append(accepts)
        self.after.append([])
        return len(self.kinds) - 1

    def patch(self, ends: list[int], target: int) -> None:
        for end in ends:
            self.after[end].append(target)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def alternatives(self) -> tuple[int, list[int]]:
        first, ends = self.sequence()
        while self.peek() == "|":
            self.at += 1
            other, more = self.sequence()
            split = self.state(_SPLIT)
            self.after[split] = [first, other]
            first, ends = split, ends + more
        return first, ends

    def sequence(self) -> tuple[int, list[int]]:
        first = self.state(_SPLIT)
        ends = [first]
        while self.peek() not in ("", "|", ")"):
            begin, new = self.repeated()
            self.patch(ends, begin)
            ends = new
        return first, ends

    def repeated(self) -> tuple[int, list[int]]:
        start = self.at
        first, ends = self.atom()
        bounds = self.bounds()
        if bounds is None:
            return first, ends
        least, most = bounds
        after = self.at
        if self.peek() in ("*", "+", "?", "{"):
            raise NotationError("one quantifier at a time", self.at)
        # the first copy is what was read; the others are read again
        whole = self.state(_SPLIT)
        opened: list[int] = [whole]
        leaving: list[int] = []
        copies = max(least, 1 if most is None else most)
        for number in range(copies):
            if number:
                self.at = start
                first, ends = self.atom()
            if number >= least:
                leaving += opened
            self.patch(opened, first)
            if most is None and number == copies - 1:
                loop = self.state(_SPLIT)
                self.patch(ends, loop)
                self.after[loop].append(first)
                ends = [loop]
            opened = ends
        self.at = after
        return whole, opened + leaving

    def bounds(self) -> tuple[int, int | None] | None:
        sign = self.peek()
        known: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if sign in known:
            self.at += 1
            return known[sign]
        if sign != "{":
            return None
        end = self.text.find("}", self.at)
        least, comma, most = self.text[self.at + 1 : max(end, 0)].partition(",")
        digits = least.isdecimal() and (not most or most.isdecimal())
        if end == -1 or not digits:
            raise NotationError("{ } holds one or two counts: {2} {2,} {2,5}", self.at)
        low = int(least)
        high = (int(most) if most else None) if comma else low
        if max(low, high or 0) > _MAX_COUNT or (high is not None and high < max(low, 1)):
            raise NotationError(f"counts run from 1 to {_MAX_COUNT}, small to large", self.at)
        self.at = end + 1
        return low, high

    def atom(self) -> tuple[int, list[int]]:
        sign, start = self.peek(), self.at
        self.at += 1
        if sign == "(":
            return self.group(start)
        if sign == "[":
            return self.one(self.char_class(start))
        if sign == ".":
            return self.one(lambda c: c != "\n")
        if sign in ("^", "$"):
            state = self.state(_START if sign == "^" else _END)
            return state, [state]
        if sign == "\\":
            return self.one(self.escaped(start))
        if sign in ("*", "+", "?", "{"):
            raise NotationError("nothing to repeat", start)
        return self.one(self.literal(sign))

    def group(self, start: int) -> tuple[int, list[int]]:
        captures = self.groups
        if self.text.startswith("?:", self.at):
            self.at += 2
            captures = False
        elif self.peek() == "?":
            raise NotationError("lookaround and named groups are not part of this notation", start)
        if captures:
            # a repeated group is read again at the same place: it keeps its number
            self.numbers.setdefault(start, len(self.numbers) + 1)
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NotationError("groups are nested too deep", start)
        fragment = self.alternatives()
        self.depth -= 1
        if self.peek() != ")":
            raise NotationError("a ( without its )", start)
        self.at += 1
        return self.captured(start, fragment) if captures else fragment

    def captured(self, start: int, fragment: tuple[int, list[int]]) -> tuple[int, list[int]]:
        number = self.numbers[start]
        opens, closes = self.state(_SAVE), self.state(_SAVE)
        self.saves |= {opens: 2 * number, closes: 2 * number + 1}
        first, ends = fragment
        self.patch([opens], first)
        self.patch(ends, closes)
        return opens, [closes]

    def one(self, accepts: Accepts) -> tuple[int, list[int]]:
        state = self.state(_CHAR, accepts)
        return state, [state]

    def literal(self, character: str) -> Accepts:
        if self.fold:
            folded = character.casefold()
            return lambda c: c.casefold() == folded
        return lambda c: c == character

    def escaped(self, start: int) -> Accepts:
        name = self.peek()
        self.at += 1
        if name.lower() in _CLASSES:
            accepts = _CLASSES[name.lower()]
            return (lambda c: not accepts(c)) if name.isupper() else accepts
        if name in _PLAIN:
            return self.literal(_PLAIN[name])
        if name.isdecimal():
            raise NotationError("backreferences are not part of this notation", start)
        if not name or name.isalnum():
            raise NotationError(f"\\{name} is not part of this notation", start)
        return self.literal(name)

    def char_class(self, start: int) -> Accepts:
        negated = self.peek() == "^"
        self.at += negated
        members: list[Accepts] = []
        first = True
        while first or self.peek() != "]":
            if not self.peek():
                raise NotationError("a [ without its ]", start)
            members.append(self.member())
            first = False
        self.at += 1

        def accepts(c: str) -> bool:
            return any(member(c) for member in members) != negated

        return accepts

    def member(self) -> Accepts:
        start, low = self.at, self.peek()
        self.at += 1
        if low == "\\":
            name = self.peek()
            accepts = self.escaped(start)
            if name.lower() in _CLASSES:
                return accepts
            low = _PLAIN.get(name, name)
        if self.peek() != "-" or self.text[self.at + 1 : self.at + 2] in ("]", ""):
            return self.literal(low)
        self.at += 1
        high = self.peek()
        self.at += 1
        if high == "\\":
            high = self.peek()
            self.at += 1
        if high < low:
            raise NotationError("a range runs from small to large", start)
        if self.fold:
            return lambda c: low <= c.lower() <= high or low <= c.upper() <= high
        return lambda c: low <= c <= high


_Places = tuple[int, ...]  # where the match and each group begin and end, -1 for nowhere


class Pattern:
    """One compiled expression. ``text`` is what was written between the slashes."""

    __slots__ = (
        "_accepts",
        "_after",
        "_first",
        "_kinds",
        "_moves",
        "_saves",
        "fold",
        "group_count",
        "text",
    )

    def __init__(self, text: str, *, fold: bool = False, groups: bool = False) -> None:
        """Compile; with ``groups``, what parentheses hold can be asked for.

        Raises:
            NotationError: it is not in the subset; the offset counts in ``text``.
        """
        if len(text) > MAX_PATTERN:
            raise NotationError(f"an expression has {MAX_PATTERN} characters at most", MAX_PATTERN)
        compiler = _Compiler(text, fold, groups)
        self._first = compiler.compile()
        self._saves, self.group_count = compiler.saves, len(compiler.numbers)
        self._kinds, self._accepts, self._after = compiler.kinds, compiler.accepts, compiler.after
        self._moves: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self.text, self.fold = text, fold

    def search(self, subject: str) -> bool:
        """Whether it matches anywhere; never in more than ``MAX_SUBJECT`` characters."""
        if len(subject) > MAX_SUBJECT:
            return False
        again = self._close([self._first], start=False)
        states = self._close([self._first], start=True)
        for character in subject:
            if self._done(states):
                return True
            states = self._step(states, character) | again
        return self._done(states) or self._done(self._close(states, start=not subject, end=True))

    def spans(self, subject: str) -> list[tuple[int, int]] | None:
        """Return where it matches, leftmost and longest, none empty.

        None where the text is longer than ``MAX_REPLACED`` characters.
        """
        if len(subject) > MAX_REPLACED:
            return None
        found: list[tuple[int, int]] = []
        at = 0
        while at < len(subject):
            end = self._longest(subject, at)
            if end > at:
                found.append((at, end))
                at = end
            else:
                at += 1
        return found

    def captures(self, subject: str) -> tuple[str | None, ...]:
        """Return the first match and what its groups hold, None for a group that took no part.

        The leftmost match; alternatives in the order written, each part as long as it can. Nothing
        where it does not match, or where the text is longer than ``MAX_REPLACED`` characters.
        Compile with ``groups``.
        """
        if len(subject) > MAX_REPLACED:
            return ()
        places: _Places | None = None
        threads: list[tuple[int, _Places]] = []
        seen: set[int] = set()
        empty = (-1,) * (2 * self.group_count + 2)
        for at in range(len(subject) + 1):
            if places is None:
                self._follow(self._first, (at, *empty[1:]), (subject, at), threads, seen)
            elif not threads:
                break
            ahead: list[tuple[int, _Places]] = []
            seen = set()
            for state, held in threads:
                accepts = self._accepts[state]
                if accepts is None:
                    # what stands behind it in the order was wished for less
                    places = (held[0], at, *held[2:])
                    break
                if at < len(subject) and accepts(subject[at]):
                    for target in self._after[state]:
                        self._follow(target, held, (subject, at + 1), ahead, seen)
            threads = ahead
        if places is None:
            return ()
        pairs = zip(places[::2], places[1::2], strict=True)
        return tuple(subject[start:end] if end >= start >= 0 else None for start, end in pairs)

    def _follow(
        self,
        first: int,
        held: "_Places",
        here: tuple[str, int],
        threads: "list[tuple[int, _Places]]",
        seen: set[int],
    ) -> None:
        """Add the states that are reached without a character, in the order they are wished for."""
        subject, at = here
        waiting = [(first, held)]
        while waiting:
            state, held = waiting.pop()
            if state in seen:
                continue
            seen.add(state)
            kind = self._kinds[state]
            if kind in (_CHAR, _MATCH):
                threads.append((state, held))
                continue
            if (kind == _START and at > 0) or (kind == _END and at < len(subject)):
                continue
            if kind == _SAVE:
                place = self._saves[state]
                held = (*held[:place], at, *held[place + 1 :])
            waiting += [(target, held) for target in reversed(self._after[state])]

    def _longest(self, subject: str, begin: int) -> int:
        states = self._close([self._first], start=begin == 0)
        best = -1
        for at in range(begin, len(subject)):
            states = self._step(states, subject[at])
            if not states:
                return best
            if self._done(states):
                best = at + 1
        return len(subject) if self._done(self._close(states, start=False, end=True)) else best

    def _done(self, states: frozenset[int]) -> bool:
        return any(self._kinds[state] == _MATCH for state in states)

    def _step(self, states: frozenset[int], character: str) -> frozenset[int]:
        key = (states, character)
        known = self._moves.get(key)
        if known is not None:
            return known
        targets: list[int] = []
        for state in states:
            accepts = self._accepts[state]
            if accepts is not None and accepts(character):
                targets += self._after[state]
        result = self._close(targets, start=False)
        if len(self._moves) >= _REMEMBERED:
            self._moves.clear()
        self._moves[key] = result
        return result

    def _close(
        self, states: "frozenset[int] | list[int]", *, start: bool, end: bool = False
    ) -> frozenset[int]:
        seen = set(states)
        waiting = list(seen)
        while waiting:
            state = waiting.pop()
            kind = self._kinds[state]
            passes = kind in (_SPLIT, _SAVE) or (kind == _START and start) or (kind == _END and end)
            if passes:
                new = [target for target in self._after[state] if target not in seen]
                seen.update(new)
                waiting += new
        return frozenset(seen)
