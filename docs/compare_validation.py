"""Compares the verdicts of ``validate`` with those of hl7apy, for docs/validation-differences.md.

``python docs/compare_validation.py FILE…`` prints how often each pair of verdicts came, and the
rules that only one of the two found broken: places and rules, nothing of a message.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from ifengine.hl7.message import Message, MessageError
from ifengine.transforms.validation import Validation

_QUOTED = re.compile(r"<[^>]*>|(?<=Value ).*(?= not in table)|\[[^]]*\]")


def verdict_of_hl7apy(content: bytes) -> tuple[str, list[str]]:
    """Return ``ok``, ``refused`` or ``cannot``, and what hl7apy says is wrong."""
    text = re.sub(r"[\r\n]+", "\r", content.decode("latin-1"))
    text = text[text.find("MSH") :].rstrip("\x1c\r ")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        try:
            message = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT)
            message.validate(report_file=str(report))
        except (HL7apyException, AttributeError, ValueError, TypeError, KeyError) as error:
            if not report.is_file():
                return "cannot", [type(error).__name__]
            lines = report.read_text(encoding="utf-8").splitlines()
            return "refused", [_QUOTED.sub("", one) for one in lines if one.startswith("Error")]
    return "ok", []


def compare(files: Iterable[Path]) -> tuple[Counter[tuple[str, str]], Counter[str], Counter[str]]:
    """Return the pairs of verdicts (ours first), and what only we or only hl7apy refuse for."""
    pairs: Counter[tuple[str, str]] = Counter()
    ours_only: Counter[str] = Counter()
    theirs_only: Counter[str] = Counter()
    for file in files:
        content = file.read_bytes()
        try:
            message = Message.parse(content)
        except MessageError:
            continue
        if message.names().count("MSH") != 1:
            continue  # a batch without its head: neither is made for it
        found = {f.text for f in Validation().findings(message, {})}
        theirs, said = verdict_of_hl7apy(content)
        pairs["refused" if found else "ok", theirs] += 1
        if found and theirs == "ok":
            ours_only.update(found)
        elif not found and theirs != "ok":
            theirs_only.update(set(said))
    return pairs, ours_only, theirs_only


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(files: tuple[Path, ...]) -> None:
    """Print the comparison."""
    pairs, ours_only, theirs_only = compare(files)
    for (ours, theirs), count in pairs.most_common():
        click.echo(f"{count:5} validate {ours}, hl7apy {theirs}")
    for title, rules in (("only validate refuses", ours_only), ("only hl7apy", theirs_only)):
        click.echo(f"\n{title}")
        for rule, count in rules.most_common():
            click.echo(f"{count:5} {rule}")


if __name__ == "__main__":
    main()
