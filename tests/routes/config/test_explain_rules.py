"""The table of rules speaks of codes that there are, and of each that holds a rule of safety."""

from ifengine.routes.config.explain_codes import CODES
from ifengine.routes.config.explain_rules import RULES


def test_every_rule_names_codes_that_check_can_print() -> None:
    assert all(rule.codes for rule in RULES)
    assert {code for rule in RULES for code in rule.codes} - set(CODES) == set()


def test_no_code_stands_for_two_rules_and_no_rule_twice() -> None:
    codes = [code for rule in RULES for code in rule.codes]
    assert len(codes) == len(set(codes))
    assert len({rule.what for rule in RULES}) == len(RULES)


def test_every_rule_between_files_has_its_place_in_the_table() -> None:
    # E2.. and W2.. are what channels and connections owe each other and the patient
    told = {code for rule in RULES for code in rule.codes}
    plain = {"E202", "E211", "E222", "W223", "W229", "W230"}  # wiring and files: no rule of safety
    later = {code for code in CODES if code[1:] >= "260"}  # handing over and splitting
    here = {code for code in CODES if code[1] == "2"} - plain - later
    assert here - told == set()
