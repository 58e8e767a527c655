"""Reports of channel tests as people, programs and build servers read them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ifengine.cli.output import plural, printable

if TYPE_CHECKING:
    from ifengine.routes.channel_tests.coverage import Coverage
    from ifengine.routes.channel_tests.run import CaseResult, ChannelReport
    from ifengine.routes.channel_tests.verdicts import Difference
    from ifengine.routes.channel_tests.weak import Survivor, Weakness

_NAME, _TITLE = 22, 56


def report_lines(reports: "Sequence[ChannelReport]", seconds: float) -> Iterator[str]:
    """Yield a line a channel, what failed with its differences, and the sum."""
    for report in reports:
        failed = len(report.results) - report.passed
        if not report.results:
            yield f"{report.channel:<{_NAME}}no tests"
            continue
        parts = [f"{report.passed} passed", *([f"{failed} failed"] if failed else [])]
        yield f"{report.channel:<{_NAME - 1}} {', '.join(parts)}"
        for result in report.results:
            if not result.passed:
                yield from _failure_lines(result)
    total = sum(len(report.results) for report in reports)
    passed = sum(report.passed for report in reports)
    failed = total - passed
    parts = [plural(total, "test"), f"{passed} passed", *([f"{failed} failed"] if failed else [])]
    yield f"{', '.join(parts)}, {seconds:.1f} s"


def _place_of(result: "CaseResult") -> str:
    position = result.differences[0].position if result.differences else result.case.position
    return f"{position.file}:{position.line}"


def _failure_lines(result: "CaseResult") -> Iterator[str]:
    yield f"  \N{BALLOT X} {result.case.name:<{_TITLE}} {_place_of(result)}"
    if result.fault:
        yield f"      {result.fault}"
    yield from difference_lines(result.differences)


def difference_lines(differences: "Iterable[Difference]") -> Iterator[str]:
    """Yield each difference, a destination's name once, and the steps that led to it."""
    shown = None
    for difference in differences:
        name = difference.destination or "answer"
        first = name if name != shown else " " * len(name)
        shown = name
        place = f"{first}  {difference.place}"
        wanted, got = _visible(difference.expected), _visible(difference.got)
        yield f"      {place:<24} expected {wanted:<16} got {got}"
        indent = " " * (len(name) + 8)
        for note in difference.notes:
            yield f"{indent}{note}"


def _visible(value: str) -> str:
    """Quote where the eye would miss blanks."""
    return f'"{value}"' if value != value.strip() else value


def report_as_json(
    reports: "Sequence[ChannelReport]",
    seconds: float,
    weak: "Sequence[Weakness]" = (),
    coverage: "Sequence[Coverage]" = (),
) -> dict[str, Any]:
    """Return the shape of ``test -o json``; ``weak`` and ``unreached`` where they were asked for."""
    said = _reports_as_json(reports, seconds)
    if weak:
        said["weak"] = [
            {
                "channel": weakness.channel,
                "destination": survivor.mutant.place.owner or None,
                "file": survivor.mutant.place.position.file,
                "line": survivor.mutant.place.position.line,
                "kind": survivor.mutant.kind,
                "verb": survivor.mutant.place.verb,
                "change": survivor.mutant.change,
                "hint": survivor.hint,
            }
            for weakness in weak
            for survivor in weakness.survivors
        ]
    if coverage:
        said["unreached"] = [
            {"channel": one.channel, "kind": kind, "what": place.what, "line": place.line or None}
            for one in coverage
            for kind, places in one.parts()
            for place in places
        ]
    return said


def _reports_as_json(reports: "Sequence[ChannelReport]", seconds: float) -> dict[str, Any]:
    return {
        "ok": all(report.ok for report in reports),
        "seconds": round(seconds, 3),
        "channels": [
            {
                "channel": report.channel,
                "file": report.file,
                "tests": [_result_as_json(result) for result in report.results],
            }
            for report in reports
        ],
    }


def _result_as_json(result: "CaseResult") -> dict[str, Any]:
    position = result.case.position
    return {
        "name": result.case.name,
        "file": position.file,
        "line": position.line,
        "passed": result.passed,
        "fault": result.fault or None,
        "differences": [
            {
                "destination": difference.destination or None,
                "place": difference.place,
                "expected": difference.expected,
                "got": difference.got,
                "line": difference.position.line,
                "notes": difference.notes,
            }
            for difference in result.differences
        ],
    }


def junit(reports: "Sequence[ChannelReport]", seconds: float) -> str:
    """Return JUnit XML, as build servers read it: a suite a channel."""
    total = sum(len(report.results) for report in reports)
    failed = total - sum(report.passed for report in reports)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="ifengine" tests="{total}" failures="{failed}" time="{seconds:.3f}">',
    ]
    for report in reports:
        lines.append(
            f'  <testsuite name="{_attribute(report.channel)}" tests="{len(report.results)}" '
            f'failures="{len(report.results) - report.passed}" errors="0">'
        )
        for result in report.results:
            lines += _testcase(report.channel, result)
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def _testcase(channel: str, result: "CaseResult") -> list[str]:
    position = result.case.position
    head = (
        f'    <testcase classname="{_attribute(channel)}" name="{_attribute(result.case.name)}" '
        f'file="{_attribute(position.file)}" line="{position.line}"'
    )
    if result.passed:
        return [f"{head}/>"]
    lines = [result.fault] if result.fault else []
    lines += [line.strip() for line in difference_lines(result.differences)]
    told = [escape(printable(line), quote=False) for line in (_place_of(result), *lines)]
    return [
        f"{head}>",
        f'      <failure message="{_attribute(lines[0])}">' + "\n".join(told) + "</failure>",
        "    </testcase>",
    ]


def _attribute(text: str) -> str:
    return escape(printable(text), quote=True)


# --- what the tests do not see --------------------------------------------------------------------

_OWNER, _WRITTEN = 26, 52


def weak_lines(found: "Sequence[Weakness]", sources: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield what could be deleted or changed unnoticed, with file and line and what to add.

    ``sources`` are the lines of the site's files.
    """
    deleted = [(weakness, s) for weakness in found for s in weakness.survivors if s.is_deletion]
    changed = [(weakness, s) for weakness in found for s in weakness.survivors if not s.is_deletion]
    steps = sum(weakness.steps for weakness in found)
    changes = sum(weakness.changes for weakness in found)
    colon = ":" if deleted else ""
    yield (
        f"{len(deleted)} of {plural(steps, 'step')} and branches could be deleted "
        f"and no test would notice{colon}"
    )
    yield from (_weak_line(weakness, survivor, sources) for weakness, survivor in deleted)
    colon = ":" if changed else ""
    yield (
        f"{len(changed)} of {plural(changes, 'condition')} and values could be changed "
        f"and no test would notice{colon}"
    )
    yield from _changed_lines(changed)


def _weak_line(
    weakness: "Weakness", survivor: "Survivor", sources: Mapping[str, Sequence[str]]
) -> str:
    place = survivor.mutant.place
    lines = sources.get(place.position.file, ())
    line = place.position.line
    text = lines[line - 1].strip().removeprefix("- ") if 0 < line <= len(lines) else place.verb
    return _row(weakness, survivor, text.partition(" #")[0].rstrip())


def _changed_lines(changed: "Sequence[tuple[Weakness, Survivor]]") -> Iterator[str]:
    """Yield a line a change; what could be left out of one list shares a line."""
    grouped: dict[tuple[str, str, int, str, str], list[tuple[Weakness, Survivor]]] = {}
    for weakness, survivor in changed:
        place = survivor.mutant.place
        kind, _, what = survivor.mutant.change.partition(" ")
        same = "" if kind == "without" else what
        line, hint = place.position.line, survivor.hint
        key = (weakness.channel, place.owner + place.number, line, f"{kind} {same}", hint)
        grouped.setdefault(key, []).append((weakness, survivor))
    for found in grouped.values():
        weakness, first = found[0]
        others = [s.mutant.change.removeprefix("without ") for _, s in found[1:]]
        change = ", ".join([first.mutant.change, *others])
        yield _row(weakness, first, f"{first.mutant.place.verb}: {change}")


def _row(weakness: "Weakness", survivor: "Survivor", text: str) -> str:
    place = survivor.mutant.place
    owner = f"{weakness.channel}/{place.owner}" if place.owner else weakness.channel
    if len(text) > _WRITTEN:
        text = f"{text[: _WRITTEN - 1]}…"
    line = place.position.line
    return f"  {owner:<{_OWNER}} line {line:<4} {text:<{_WRITTEN}} ({survivor.hint})"


def coverage_lines(found: "Sequence[Coverage]") -> Iterator[str]:
    """Yield what no test reached, a heading a channel."""
    for coverage in found:
        parts = coverage.parts()
        if not any(unreached for _, unreached in parts):
            yield f"{coverage.channel}: every destination, branch and lookup row was reached"
            continue
        yield f"{coverage.channel}: no test reached"
        for kind, unreached in parts:
            for one in unreached:
                where = f"{coverage.file}:{one.line}" if one.line else ""
                yield f"  {kind:<12} {one.what:<{_WRITTEN}} {where}".rstrip()
