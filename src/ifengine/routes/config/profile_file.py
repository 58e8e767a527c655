"""A profile's nodes, ``channels/profiles/NAME.yaml``, to the rules that ``validate`` checks."""

from collections.abc import Mapping

from ifengine.hl7.dictionary import problem_of_path, versions
from ifengine.hl7.path import Path as Hl7Path
from ifengine.routes.config.keys_profile import PROFILE, RULE, RULES
from ifengine.routes.config.kinds import BAD, PathKind, nearest
from ifengine.routes.config.sections import Section, read_section
from ifengine.transforms.source import Entries, Items, Node, Problems, Text
from ifengine.transforms.tables import Table
from ifengine.transforms.validation_profile import Profile, ProfileRule, RuleSet

_EXAMPLE = "fields: {PID-3.1: {required: yes}}"


def read_profile(
    node: Entries, name: str, tables: Mapping[str, Table], problems: Problems
) -> Profile:
    """Read a profile; every mistake becomes a problem, and what could be read is in the result."""
    section = read_section(PROFILE, node, problems)
    sets = []
    rules = section.nodes.get("rules")
    if rules is not None and not isinstance(rules, Items):
        hint = 'begin each with "- "'
        problems.error("E104", rules.position, '"rules" takes a list of rules', hint)
    for item in rules if isinstance(rules, Items) else ():
        if isinstance(item, Entries):
            sets.append(_rule_set(item, tables, problems))
        else:
            problems.error("E104", item.position, "a rule is a map of types and fields", _EXAMPLE)
    local = frozenset(value for value, _ in section.get("local", ()))
    return Profile(name=name, sets=tuple(sets), local=local)


def _rule_set(node: Entries, tables: Mapping[str, Table], problems: Problems) -> RuleSet:
    section = read_section(RULES, node, problems)
    types = tuple((value.code, value.event) for value, _ in section.get("types", ()))
    fields = section.nodes.get("fields")
    made: list[ProfileRule] = []
    if fields is not None and not isinstance(fields, Entries):
        problems.error("E104", fields.position, '"fields" takes a map of paths', _EXAMPLE)
    for key, value in fields if isinstance(fields, Entries) else ():
        rule = _rule(key, value, tables, problems)
        if rule is not None:
            made.append(rule)
    return RuleSet(types=types, rules=tuple(made))


def _rule(
    key: Text, value: Node, tables: Mapping[str, Table], problems: Problems
) -> ProfileRule | None:
    path = PathKind().read(key.value, key, problems)
    if not isinstance(value, Entries):
        problems.error("E104", value.position, f'"{key.value}" takes a map of rules', _EXAMPLE)
        return None
    section = read_section(RULE, value, problems)
    if path is BAD:
        return None
    if not value.entries:
        problems.error("E102", key.position, f"nothing is said of {path}", "required: yes")
    _check_path(path, key, problems)
    _check_together(path, key, section, problems)
    _check_table(section, tables, problems)
    if not section.values:
        return None
    return ProfileRule(
        path=path,
        required=section.get("required"),
        forbidden=section.get("forbidden", False),
        length=section.get("length"),
        table=section.get("table", ""),
    )


def _check_path(path: Hl7Path, key: Text, problems: Problems) -> None:
    faults = [problem_of_path(version, path) for version in versions()]
    if all(faults):
        problems.error("E321", key.position, f"no version has {path}: {faults[-1]}")


def _check_together(path: Hl7Path, key: Text, section: Section, problems: Problems) -> None:
    if section.get("required") and section.get("forbidden"):
        at = section.keys["forbidden"].position
        problems.error("E102", at, f"{path} cannot be required and forbidden", "leave one of them")
    if path.field is not None:
        return
    for name in ("length", "table"):
        if section.says(name):
            at = section.keys[name].position
            hint = f"{path}-1: {{{name}: …}}"
            problems.error("E102", at, f"a segment has no {name}: fields have", hint)


def _check_table(section: Section, tables: Mapping[str, Table], problems: Problems) -> None:
    name = section.get("table", "any")
    if name == "any" or name in tables:
        return
    if name.isdigit() and len(name) == 4:
        return
    hint = nearest(name, list(tables)) or f"put it into tables/{name}.csv"
    at = section.at("table")
    problems.error("E301", at, f'there is no table "{name}"', hint)
    section.values.pop("table")
