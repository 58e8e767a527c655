"""Which rule of a safe channel `ifengine check` holds by which codes, for people who review one."""

from typing import Final, NamedTuple


class Rule(NamedTuple):
    """What must not happen, and the codes that say it would."""

    what: str
    codes: tuple[str, ...]


def _rule(what: str, codes: str) -> Rule:
    return Rule(what, tuple(codes.split()))


RULES: Final = (
    # what YAML and the notations do to people
    _rule("tabs, a colon inside a value, @, brackets in a list, what is not closed", "E001"),
    _rule("equal keys, of which one would be lost", "E002"),
    _rule("tags, anchors outside `shared:`", "E003"),
    _rule("aliases, depth, size or numbers that nobody wrote by hand", "E004"),
    _rule("a value cut short by a comment", "W005"),
    _rule('a step without its "- "', "E104 E105 E106"),
    _rule(
        "`==`, `PID.5.1`, `PID-5-1`, `[0]`, an unknown filter, a text that looks like a path",
        "E110",
    ),
    _rule("`and` and `or` without parentheses, `MSH-9 =` with one part of three", "W213"),
    # names and places
    _rule(
        "a connection, table, variable, store or sample that is not there", "E201 E226 E301 E302"
    ),
    _rule(
        "a segment, field or component that no version has, or no declared type", "W303 W304 W306"
    ),
    _rule("a repeating segment without saying which", "E234 E305 W305"),
    _rule(
        "two channels of one connection that take one type; two listeners on one port", "E203 E216"
    ),
    _rule("a table, connection or test that nobody uses or wrote", "W201 W203 W224"),
    # what never happens
    _rule("a destination that no message reaches", "W214 E264"),
    _rule("a branch behind a wider one, a condition that never holds", "W250 W251"),
    _rule("a step after drop, fail or reject", "W310"),
    # who is told, and when
    _rule(
        "a sender that waits and would hear nothing, too late, or from nobody",
        "E243 E244 E245 W247",
    ),
    _rule("an application acknowledgment that nobody waits for, or nobody sends", "E271 E272"),
    _rule("retries while a sender waits; a refusal where none waits", "W245 E246"),
    _rule("an order or charge without a word on what happens in doubt", "W208"),
    # duplicates
    _rule("a control id as the key of a duplicate", "E240"),
    _rule("a changed order or corrected result dropped as a duplicate", "E241"),
    _rule(
        "a repetition forgotten before its sender gives up, or longer known than kept", "E248 W248"
    ),
    _rule("control ids of several senders at one receiver", "W219"),
    # order and identity
    _rule(
        "no key to hold, lanes without a key, an order given up at one destination",
        "W202 E206 W206",
    ),
    _rule("a strict queue that can stand still for ever", "E205"),
    _rule("a connection fed under two orders", "E204"),
    _rule("the patient without the site's definition of one", "E207 E340"),
    _rule("merges and moves left out, or passing unnamed", "E209 W209"),
    _rule("a merge that holds nothing back when it is dead, or is overtaken", "E242 W249"),
    # what filters and steps take away
    _rule("a segment that the type requires; children without their parent", "E232 E307"),
    _rule("the last identifier", "E233"),
    _rule("parts of a snapshot, which are deletes at the receiver", "E235 W235"),
    _rule("a status of a result that says corrected, deleted or wrong patient", "W236"),
    _rule("two rows of a table that fit at once", "E403 E405"),
    # who may see it
    _rule("a patient in a file's name", "E215 E217"),
    _rule("a secret where messages, names or logs show it", "E231 E332"),
    _rule("plaintext without a reason", "E210 W212"),
    _rule("an environment that changes what a channel does", "E220"),
)
