"""Python files, snippets and variables of a site, as they are loaded."""

from pathlib import Path

import pytest

from ifengine.routes.config.loading import Loaded, load_site

SITE = """ifengine: 1
site: small
vars: {area: "0431", port: "${env:AREA:-5}", key: "${secret:KEY}"}
connections:
  in: {listen: mllp, port: 7001, host: 127.0.0.1, plaintext: a test}
  out: {send: mllp, host: localhost, port: 7002, plaintext: a test}
"""
CHANNEL = """ifengine: 1
channel: small
from: in
types: [ORU^R01]
order_by: PID-3.1
steps:
  - STEP
to:
  out: {connection: out}
"""
PYTHON = "def transform(msg, ctx):\n    pass\n"


def loaded(
    directory: Path, step: str, files: dict[str, str], site: str = SITE, **environ: str
) -> Loaded:
    (directory / "ifengine.yaml").write_text(site)
    for name, text in {"small.yaml": CHANNEL.replace("STEP", step), **files}.items():
        (directory / "channels" / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / "channels" / name).write_text(text)
    return load_site(directory, environ=environ)


def errors(found: Loaded) -> list[tuple[str, str, int]]:
    return [
        (p.code, p.position.file, p.position.line)
        for p in found.problems
        if p.severity.value == "error"
    ]


USE = "python: {file: python/lab.py, function: transform}"


@pytest.mark.parametrize(
    ("source", "code", "file", "line"),
    [
        ("def transform(msg, ctx)\n    pass\n", "E351", "channels/python/lab.py", 1),
        ("\nimport nowhere_at_all\n" + PYTHON, "E351", "channels/python/lab.py", 2),
        ("x = 1\ndef other(msg, ctx):\n    pass\n", "E351", "channels/python/lab.py", 1),
        ("def other(msg, ctx):\n    pass\n", "E350", "channels/small.yaml", 7),
    ],
)
def test_a_python_file_that_cannot_be_used_is_told_at_its_place(
    tmp_path: Path, source: str, code: str, file: str, line: int
) -> None:
    assert (code, file, line) in errors(loaded(tmp_path, USE, {"python/lab.py": source}))


def test_a_python_file_counts_for_the_version_and_a_site_may_forbid_it(tmp_path: Path) -> None:
    first = loaded(tmp_path, USE, {"python/lab.py": PYTHON}).site
    second = loaded(tmp_path, USE, {"python/lab.py": PYTHON + "# more\n"}).site
    assert first is not None
    assert second is not None
    assert first.digest != second.digest
    off = loaded(tmp_path, USE, {"python/lab.py": PYTHON}, SITE + "python: off\n")
    assert errors(off) == [("E352", "channels/small.yaml", 7)]


def test_a_mistake_in_a_snippet_is_told_there(tmp_path: Path) -> None:
    files = {"snippets/a.yaml": "- upper: PID-5.1\n- upper: PID-5-2\n"}
    assert errors(loaded(tmp_path, "use: {file: snippets/a.yaml}", files)) == [
        ("E110", "channels/snippets/a.yaml", 2)
    ]
    files = {"snippets/a.yaml": "upper: PID-5.1\n"}
    assert ("E101", "channels/snippets/a.yaml", 1) in errors(
        loaded(tmp_path, "use: {file: snippets/a.yaml}", files)
    )


def test_variables_are_filled_and_count_for_the_version(tmp_path: Path) -> None:
    step = "set: {PID-4: '${vars.area}-${vars.port}'}"
    first, second = loaded(tmp_path, step, {}).site, loaded(tmp_path, step, {}, AREA="6").site
    assert first is not None
    assert second is not None
    assert first.digest != second.digest


def test_a_variable_that_is_not_there_or_is_a_secret_is_refused(tmp_path: Path) -> None:
    for name in ("aria", "key"):
        step = f"set: {{PID-4: '${{vars.{name}}}'}}"
        assert errors(loaded(tmp_path, step, {})) == [("E355", "channels/small.yaml", 7)]
