"""Which fields of which segments a de-identified copy may have, and how each is treated: data only.

An allow-list: a segment or field that is not here is dropped, local segments included, so that what
a sender invents tomorrow is dropped too. Everything is by segment and by the field numbers of the
standard.

Source: 45 CFR 164.514(b)(2) (the 18 identifiers); HL7 v2.5.1 and v2.9.1 chapters 2 to 12 for what
the fields hold; security.md section 6.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Rule(Enum):
    """How a field that stays is treated. What does not have the rule's form is dropped."""

    NUMBER = "a number of at most seven digits"
    SUB_ID = "a sub-identifier, eight characters at most"
    WORD = "component 1: a short code of a table"
    WORDS = "components 1 and 2: short codes of a table"
    TYPE = "components 1 to 3: the type of the message"
    CODED = "a code and its system; its text where there is a code"
    UNIT = "a unit and its system"
    QUANTITY = "a number and its unit"
    RANGE = "numbers with <, > or - between them"
    CHARSET = "a character set of table 0211"
    DATE = "component 1: a date, by the profile"
    PERIOD = "components 1 and 2: dates, by the profile"
    PATIENT = "an identifier of a patient: pseudonym"
    VISIT = "an account or visit number: pseudonym"
    ORDER = "an order number: pseudonym"
    ORDERS = "a pair of order numbers: pseudonyms"
    SPECIMEN = "a pair of specimen numbers: pseudonyms"
    CONTROL = "a control id: pseudonym"
    SITE = "an application or facility: pseudonym"
    ADDRESS = "state, country, and three digits of a United States ZIP code"
    VALUE = "a value by its type in OBX-2"
    COMMENT = "free text, dropped unless it is to be kept"


def _fields(text: str) -> dict[int, Rule]:
    """Read ``1 NUMBER, 3 PATIENT``."""
    pairs = (entry.split() for entry in text.split(","))
    return {int(number): Rule[rule] for number, rule in pairs}


SAFE: Final[Mapping[str, Mapping[int, Rule]]] = {
    name: _fields(text)
    for name, text in {
        "MSH": "3 SITE, 4 SITE, 5 SITE, 6 SITE, 7 DATE, 9 TYPE, 10 CONTROL, 11 WORDS, 12 WORD,"
        " 15 WORD, 16 WORD, 17 WORD, 18 CHARSET, 19 CODED, 20 WORD",
        "MSA": "1 WORD, 2 CONTROL",
        "EVN": "1 WORD, 2 DATE, 3 DATE, 4 CODED, 6 DATE, 7 SITE",
        "PID": "1 NUMBER, 3 PATIENT, 7 DATE, 11 ADDRESS, 18 VISIT, 29 DATE, 30 WORD, 33 DATE",
        "MRG": "1 PATIENT, 3 VISIT, 5 VISIT",
        "PV1": "1 NUMBER, 2 CODED, 4 CODED, 10 CODED, 13 CODED, 14 CODED, 18 CODED, 19 VISIT,"
        " 36 CODED, 44 DATE, 45 DATE",
        "PV2": "8 DATE, 9 DATE, 10 NUMBER, 11 NUMBER, 33 DATE, 40 CODED",
        "AL1": "1 NUMBER, 2 CODED, 3 CODED, 4 CODED, 6 DATE",
        "IAM": "1 NUMBER, 2 CODED, 3 CODED, 4 CODED, 6 CODED, 9 CODED, 11 DATE, 13 DATE, 17 CODED",
        "DG1": "1 NUMBER, 2 WORD, 3 CODED, 5 DATE, 6 CODED, 15 NUMBER, 17 CODED, 18 WORD, 19 DATE",
        "DRG": "1 CODED, 2 DATE, 3 WORD, 5 NUMBER",
        "PR1": "1 NUMBER, 2 WORD, 3 CODED, 5 DATE, 6 CODED, 7 NUMBER, 14 NUMBER, 15 CODED",
        "ORC": "1 WORD, 2 ORDER, 3 ORDER, 4 ORDER, 5 WORD, 6 WORD, 8 ORDERS, 9 DATE, 15 DATE,"
        " 25 CODED, 29 CODED",
        "OBR": "1 NUMBER, 2 ORDER, 3 ORDER, 4 CODED, 5 WORD, 6 DATE, 7 DATE, 8 DATE, 9 QUANTITY,"
        " 11 WORD, 14 DATE, 22 DATE, 24 WORD, 25 WORD, 29 ORDERS, 36 DATE, 37 NUMBER, 44 CODED,"
        " 45 CODED, 49 CODED",
        "OBX": "1 NUMBER, 2 WORD, 3 CODED, 4 SUB_ID, 5 VALUE, 6 UNIT, 7 RANGE, 8 WORD, 9 NUMBER,"
        " 10 WORD, 11 WORD, 12 DATE, 14 DATE, 17 CODED, 19 DATE",
        "NTE": "1 NUMBER, 2 WORD, 3 COMMENT, 4 CODED",
        "SPM": "1 NUMBER, 2 SPECIMEN, 3 SPECIMEN, 4 CODED, 5 CODED, 6 CODED, 7 CODED, 8 CODED,"
        " 9 CODED, 11 CODED, 12 QUANTITY, 13 NUMBER, 17 PERIOD, 18 DATE, 20 WORD, 21 CODED,"
        " 24 CODED, 26 NUMBER, 27 CODED",
        "TQ1": "1 NUMBER, 2 QUANTITY, 6 QUANTITY, 7 DATE, 8 DATE, 9 CODED, 14 NUMBER",
        "TXA": "1 NUMBER, 2 CODED, 3 WORD, 4 DATE, 6 DATE, 7 DATE, 8 DATE, 12 ORDER, 13 ORDER,"
        " 14 ORDER, 17 WORD, 18 WORD, 19 WORD",
        "SCH": "1 ORDER, 2 ORDER, 6 CODED, 7 CODED, 8 CODED, 9 NUMBER, 10 UNIT, 25 CODED",
        "RGS": "1 NUMBER, 2 WORD",
        "AIS": "1 NUMBER, 2 WORD, 3 CODED, 4 DATE, 7 NUMBER, 8 UNIT, 10 CODED",
        "AIG": "1 NUMBER, 2 WORD, 4 CODED, 8 DATE, 11 NUMBER, 12 UNIT, 14 CODED",
        "AIL": "1 NUMBER, 2 WORD, 4 CODED, 6 DATE, 9 NUMBER, 10 UNIT, 12 CODED",
        "AIP": "1 NUMBER, 2 WORD, 4 CODED, 6 DATE, 9 NUMBER, 10 UNIT, 12 CODED",
        "RXO": "1 CODED, 2 NUMBER, 3 NUMBER, 4 UNIT, 5 CODED, 9 WORD, 11 NUMBER, 12 UNIT",
        "RXE": "2 CODED, 3 NUMBER, 4 NUMBER, 5 UNIT, 6 CODED, 9 WORD, 10 NUMBER, 11 UNIT,"
        " 12 NUMBER, 25 NUMBER, 26 UNIT",
        "RXD": "1 NUMBER, 2 CODED, 3 DATE, 4 NUMBER, 5 UNIT, 6 CODED, 8 NUMBER, 16 NUMBER, 17 UNIT",
        "RXG": "1 NUMBER, 2 NUMBER, 4 CODED, 5 NUMBER, 6 NUMBER, 7 UNIT, 8 CODED, 17 NUMBER, 18 UNIT",
        "RXA": "1 NUMBER, 2 NUMBER, 3 DATE, 4 DATE, 5 CODED, 6 NUMBER, 7 UNIT, 8 CODED, 13 NUMBER,"
        " 14 UNIT, 16 DATE, 18 CODED, 20 WORD, 21 WORD, 22 DATE",
        "RXR": "1 CODED, 2 CODED, 4 CODED, 6 CODED",
        "RXC": "1 WORD, 2 CODED, 3 NUMBER, 4 UNIT, 5 NUMBER, 6 UNIT",
        "FT1": "1 NUMBER, 4 PERIOD, 5 DATE, 6 CODED, 7 CODED, 10 NUMBER, 18 CODED, 19 CODED,"
        " 25 CODED, 26 CODED",
        "NPU": "2 CODED",
        "ACC": "1 DATE, 2 CODED, 4 WORD, 5 WORD, 6 WORD",
    }.items()
}

# Segments that are there for their text alone: without it they go.
COMMENTS: Final = frozenset({"NTE"})

# what `keep` may not name: the identifiers of the person, relatives, employers and household, by
# field. Fields that a rule of SAFE treats as a date or an identifier are such ones too.
IDENTIFIERS: Final[Mapping[str, frozenset[int]]] = {
    name: frozenset(numbers)
    for name, numbers in {
        "MSH": (8, 13, 14, 21, 22, 23, 24),
        "EVN": (5,),
        "PID": (2, 4, 5, 6, 9, 12, 13, 14, 19, 20, 21, 23),
        "PD1": (3, 4, 8, 9),
        "MRG": (2, 4, 6, 7),
        "NK1": (2, 4, 5, 6, 8, 9, 12, 13, 16, 26, 30, 31, 32, 33, 37),
        "PV1": (3, 5, 6, 7, 8, 9, 11, 17, 42, 43, 50, 52, 54),
        "PV2": (1, 3, 12, 13, 21, 23, 24),
        "GT1": (
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            12,
            13,
            14,
            16,
            17,
            18,
            19,
            21,
            29,
            33,
            42,
            44,
            45,
            46,
            51,
            56,
        ),
        "IN1": (2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 18, 19, 29, 30, 36, 43, 44, 49, 52),
        "IN2": (1, 2, 3, 6, 7, 8, 9, 10, 22, 23, 25, 26, 40, 49, 52, 61, 62, 63, 69, 72),
        "IN3": (2, 3, 6, 7, 8, 9, 10, 11, 14, 16, 19, 25),
        "DG1": (4, 16, 20),
        "PR1": (4, 8, 11, 12),
        "AL1": (5,),
        "ORC": (10, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24),
        "OBR": (10, 13, 16, 17, 18, 19, 20, 21, 28, 31, 32, 33, 34, 35, 39, 43),
        "OBX": (16, 18, 23, 24, 25),
        "SPM": (14, 15, 30, 31),
        "TXA": (5, 9, 10, 11, 15, 16, 22, 23),
        "SCH": (12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23),
        "FT1": (2, 8, 9, 16, 20, 21, 23),
        "RXA": (9, 10, 11, 15, 27, 28),
        "RXD": (7, 9, 10, 11, 13, 18),
        "RXE": (7, 8, 13, 14, 15),
        "RXG": (9, 10, 11, 13),
        "ACC": (3, 8, 9),
        "STF": tuple(range(1, 20)),
        "ROL": (1, 4, 11, 12),
        "PRT": (1, 5, 8, 10, 14, 15, 16, 17, 18, 19, 20, 21),
    }.items()
}
TREATED: Final = frozenset(
    {
        Rule.DATE, Rule.PERIOD, Rule.PATIENT, Rule.VISIT, Rule.ORDER, Rule.ORDERS, Rule.SPECIMEN,
        Rule.CONTROL, Rule.ADDRESS, Rule.VALUE, Rule.COMMENT,
    }
)  # fmt: skip

# The first three digits of ZIP codes under which 20,000 people or fewer live, in the census of 2000
# (guidance of the HHS on 164.514) or of 2010: what either names is written 000.
FEW_PEOPLE: Final = frozenset(
    {
        "036", "059", "063", "102", "203", "205", "369", "556", "692", "753", "772", "790", "821",
        "823", "830", "831", "878", "879", "884", "890", "893",
    }
)  # fmt: skip
UNITED_STATES: Final = frozenset({"", "USA", "US", "840"})

# LOINC codes of observations that tell how old somebody is
AGE_CODES: Final = frozenset(
    {"30525-0", "21611-9", "21612-7", "29553-5", "35659-2", "39016-1", "63900-5"}
)
# how many of a unit make a year, by UCUM and by what senders write
UNITS_A_YEAR: Final[Mapping[str, float]] = {
    **dict.fromkeys(("", "a", "y", "yr", "yrs", "year", "years"), 1.0),
    **dict.fromkeys(("mo", "mon", "month", "months"), 12.0),
    **dict.fromkeys(("wk", "w", "week", "weeks"), 52.18),
    **dict.fromkeys(("d", "day", "days"), 365.25),
}
OLDEST: Final = 90  # years: all above 89 are one group
