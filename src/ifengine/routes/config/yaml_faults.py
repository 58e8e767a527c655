"""What the YAML parser complains about, said for a person who never read the YAML standard."""

import yaml

from ifengine.transforms.source import Position, Problems

CODE = "E001"


def explain_fault(error: yaml.YAMLError, text: str, file: str, problems: Problems) -> None:
    """Add the problem for a syntax error, at its place."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        problems.error(CODE, Position(file, 1, 1), "this is not YAML")
        return
    mark = error.problem_mark
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    place = Position(file, mark.line + 1, mark.column + 1)
    if mark.line >= len(lines):  # the parser thinks of a line end behind the last line
        place = Position(file, len(lines), len(lines[-1]) + 1)
    line = lines[place.line - 1]
    what = error.problem or ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        problems.error(
            CODE,
            place._replace(column=line.index("\t") + 1),
            "the line is indented with a tab",
            "indent with spaces",
        )
    elif "anchor" in (error.context or "") or "alias" in (error.context or ""):
        _explain_star(error, line, place, problems)
    elif "mapping values are not allowed" in what:
        _explain_colon(line, place, problems)
    elif "cannot start any token" in what:
        sign = line[mark.column : mark.column + 1]
        hint = f'quote it ("{sign}…")' if sign else ""
        problems.error(CODE, place, f"a value cannot begin with {sign}", hint)
    elif "block sequence entries" in what:
        problems.error(
            CODE,
            place,
            "a list begins on the line of its key",
            'put each "- " on a line of its own',
        )
    elif "flow" in (error.context or ""):
        _explain_flow(error, line, place, problems)
    else:
        _explain_rest(error, what, place, problems)


def _explain_star(
    error: yaml.MarkedYAMLError, line: str, place: Position, problems: Problems
) -> None:
    before = line[: place.column - 1]
    if before.count("[") > before.count("]") + 1 or before.endswith("[*"):
        _nested_bracket(place, problems)
    else:
        sign = "&" if "anchor" in (error.context or "") else "*"
        problems.error(CODE, place, f"{sign} is not followed by a name", f'quote it ("{sign}…")')


def _nested_bracket(place: Position, problems: Problems) -> None:
    problems.error(
        CODE,
        place,
        "a path with [ ] sits inside a [ ] list",
        'quote it ("PID-5[*].1"), or put each path on its own "- " line',
    )


def _explain_colon(line: str, place: Position, problems: Problems) -> None:
    before = line[: place.column - 1].strip().removeprefix("- ")
    if ":" in before:
        problems.error(
            CODE, place, "a colon and a blank inside a plain value", 'quote the value ("a: b")'
        )
    else:
        problems.error(
            CODE,
            place,
            "a key stands where none can be",
            "indent it like its neighbours; the key above already has a value",
        )


def _explain_flow(
    error: yaml.MarkedYAMLError, line: str, place: Position, problems: Problems
) -> None:
    start = error.context_mark
    opened = "{" if "mapping" in (error.context or "") else "["
    sign = line[place.column - 1 : place.column]
    if start is not None and start.line + 1 == place.line and sign == "[":
        if opened == "[":
            _nested_bracket(place, problems)
        else:
            problems.error(
                CODE, place, "a [ stands inside a { } map", 'quote the path ("PID-3[2]")'
            )
    elif start is not None and start.line + 1 == place.line and sign == "{":
        problems.error(
            CODE, place, "a { stands inside a plain value", 'quote the value ("${PID-5.1}")'
        )
    elif start is not None and "node" not in (error.context or ""):
        place = place._replace(line=start.line + 1, column=start.column + 1)
        closing = "]" if opened == "[" else "}"
        problems.error(
            CODE, place, f"this {opened} is not closed", f"a {closing} or a comma is missing"
        )
    else:
        problems.error(CODE, place, "a value is missing here", f"the {opened} list is cut short")


def _explain_rest(
    error: yaml.MarkedYAMLError, what: str, place: Position, problems: Problems
) -> None:
    start = error.context_mark
    if "end of stream" in what and start is not None:
        place = place._replace(line=start.line + 1, column=start.column + 1)
        problems.error(CODE, place, "this quote is not closed")
    elif "escape character" in what:
        problems.error(
            CODE, place, "an unknown escape in double quotes", "use single quotes, or write \\\\"
        )
    elif "expected ':'" in what and start is not None:
        place = place._replace(line=start.line + 1, column=start.column + 1)
        problems.error(CODE, place, "a colon is missing after this", "write KEY: VALUE")
    elif "'-' indicator" in what:
        problems.error(CODE, place, "a list goes on here without its dash", 'begin with "- "')
    elif "expected key" in what:
        problems.error(
            CODE,
            place,
            "this does not fit what stands before it",
            "a wrong indentation, a bracket or quote too many, or text after a closing quote",
        )
    else:
        problems.error(CODE, place, "this is not YAML", what)
