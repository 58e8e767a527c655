"""Every block of code in README and docs is run or loaded; a kind that nobody runs is refused.

The first word behind the fence says what a block is:

* ``console``: commands behind ``$``, run in order in one copy of the example site, with their
  output below them, where ``…`` stands for anything. A command that ends with ``&`` stays: its
  output is waited for.
* ``yaml channel``, ``yaml site``, ``yaml connections``, ``yaml destination``, ``yaml steps``: a
  file, or a part that is put into one; loaded without a problem, or with ``warns CODE`` alone.
  ``yaml excerpt FILE``: lines of a file, in its order, that load too.
* ``sh make``: targets of the Makefile. ``sh deploy``: commands on files of deploy/, which exist.
* ``text``: nothing to run.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from ifengine.routes.config.loading import load_site
from ifengine.transforms.source import Problem, Severity
from ports import free_ports

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
GENERATED = ROOT / "docs" / "reference"
KINDS = {
    "console", "yaml channel", "yaml site", "yaml connections", "yaml destination", "yaml steps",
    "yaml excerpt", "sh make", "sh deploy", "text",
}  # fmt: skip
PORTS = (2575, 2576, 2577, 2578, *range(6661, 6669), 9464)
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
SECONDS = 20.0


class Block(NamedTuple):
    """One fenced block of a page."""

    page: Path
    line: int
    kind: str
    argument: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        words = found[1].split()
        size = 1 if words[:1] in (["console"], ["text"]) else 2
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, " ".join(words[:size]), " ".join(words[size:]), found[2])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of_kind(*kinds: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind in kinds]


def place(block: Block) -> str:
    return block.place


def test_every_block_says_what_it_is() -> None:
    assert {block.kind for block in BLOCKS} <= KINDS, [
        b.place for b in BLOCKS if b.kind not in KINDS
    ]
    for page in PAGES:
        fences = page.read_text(encoding="utf-8").count("```")
        assert fences == 2 * len(list(blocks_of(page))), page


# --- console ------------------------------------------------------------------------------------


class Command(NamedTuple):
    line: str
    expected: str
    place: str


def commands_of(block: Block) -> Iterator[Command]:
    line, shown, start = "", [], 0
    for number, text in enumerate(block.text.splitlines(), block.line + 1):
        if text.startswith("$ "):
            if line:
                yield Command(line, "\n".join(shown), f"{block.page.name}:{start}")
            line, shown, start = text[2:], [], number
        elif line.endswith("\\"):
            line = line[:-1] + text.strip()
        else:
            shown.append(text)
    assert line, f"{block.place}: no command"
    yield Command(line, "\n".join(shown), f"{block.page.name}:{start}")


def pattern_of(expected: str) -> re.Pattern[str]:
    """Return what matches the shown output; blanks count as one, ``…`` as anything on its line.

    A line that is ``…`` alone stands for any lines.
    """
    parts = []
    for line in expected.splitlines():
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
            continue
        pieces = [r"\s+".join(map(re.escape, piece.split())) for piece in line.split("…")]
        parts.append(r"\s*" + r"[^\n]*".join(pieces) + r"[^\S\n]*\n")
    return re.compile("".join(parts))


class Session:
    """A person at a terminal in a copy of the example site, on ports that are free."""

    def __init__(self, folder: Path, ports: dict[int, int]) -> None:
        self.folder = folder
        self.ports = ports
        self.jobs: list[tuple[str, subprocess.Popen[bytes]]] = []
        bin_folder = str(Path(sys.executable).parent)
        self.environ = {
            **os.environ,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "NO_COLOR": "1",
            "HOME": str(folder / "home"),
        }
        for name in ("IFENGINE_SITE", "IFENGINE_SERVER", "IFENGINE_STORE"):
            self.environ.pop(name, None)

    def real(self, text: str) -> str:
        for shown, used in self.ports.items():
            text = re.sub(rf"\b{shown}\b", str(used), text)
        return text

    def shown(self, text: str) -> str:
        for shown, used in self.ports.items():
            text = re.sub(rf"\b{used}\b", str(shown), text)
        return text.replace(str(self.folder), "/srv/site")

    def run(self, command: Command) -> None:
        if command.line.endswith("&"):
            self._stay(command)
        elif stop := re.fullmatch(r"kill -(TERM|KILL) %\?(\w+)", command.line):
            self._stop(stop[2], getattr(signal, f"SIG{stop[1]}"), command)
        else:
            self._once(command)

    def _once(self, command: Command) -> None:
        deadline = time.monotonic() + 10.0
        while True:
            done = subprocess.run(
                ["bash", "-c", self.real(command.line)],
                cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, timeout=SECONDS,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            text = self.shown(done.stdout.decode())
            fits = not command.expected or pattern_of(command.expected).fullmatch(text)
            if done.returncode == 0 and fits:
                return
            # a listing may run ahead of what it lists; nothing else is asked twice
            looks = re.match(
                r"(.*\| )?ifengine (messages|dlq list|channels list|doctor)", command.line
            )
            if not looks or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        pytest.fail(
            f"{command.place}: $ {command.line}\nexit {done.returncode}\n{text}\n"
            f"--- the page says\n{command.expected}",
            pytrace=False,
        )

    def _stay(self, command: Command) -> None:
        log = self.folder / f"job{len(self.jobs)}.log"
        with log.open("wb") as out:
            job = subprocess.Popen(
                self.real(command.line.removesuffix("&")).split(),
                cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self.jobs.append((command.line, job))
        deadline = time.monotonic() + SECONDS
        pattern = pattern_of(command.expected)
        assert command.expected, f"{command.place}: nothing to wait for"
        while not pattern.match(self.shown(log.read_text())):
            if job.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command.place}: $ {command.line}\n{log.read_text()}", pytrace=False)
            time.sleep(0.05)

    def _stop(self, word: str, number: int, command: Command) -> None:
        found = [entry for entry in self.jobs if word in entry[0]]
        assert len(found) == 1, f"{command.place}: which job?"
        found[0][1].send_signal(number)
        code = found[0][1].wait(SECONDS)
        assert code == (0 if number == signal.SIGTERM else -number), (command.place, code)
        self.jobs.remove(found[0])

    def close(self) -> None:
        for _, job in self.jobs:
            job.terminate()
        for _, job in self.jobs:
            try:
                job.wait(SECONDS)
            except subprocess.TimeoutExpired:
                job.kill()
                job.wait()


@pytest.fixture
def session() -> Iterator[Session]:
    # not tmp_path: the path of a Unix socket has room for 107 characters
    with tempfile.TemporaryDirectory(prefix="ife-") as name:
        folder = Path(name).resolve()
        one = Session(folder, dict(zip(PORTS, free_ports(len(PORTS)), strict=True)))
        shutil.copytree(ROOT / "channels", folder / "channels")
        site = (ROOT / "ifengine.yaml").read_text(encoding="utf-8")
        (folder / "ifengine.yaml").write_text(one.real(site), encoding="utf-8")
        try:
            yield one
        finally:
            one.close()


CONSOLE_PAGES = sorted({block.page for block in of_kind("console")})


@pytest.mark.parametrize("page", CONSOLE_PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_at_the_prompt_happens(page: Path, session: Session) -> None:
    for block in blocks_of(page):
        if block.kind == "console":
            for command in commands_of(block):
                session.run(command)


def test_shown_output_is_compared_line_by_line() -> None:
    assert pattern_of("1 channel, … problems").fullmatch("1 channel, 2 tables: no problems\n")
    assert pattern_of("a\n…\nz").fullmatch("a\nb\nc\nz\n")
    assert pattern_of("ID  STATE\n1   sent").fullmatch("ID STATE\n1      sent\n")
    for wrong in ("1 channel\n", "2 channel, no problems\n", "1 channel, no problems\nmore\n"):
        assert not pattern_of("1 channel, … problems").fullmatch(wrong)


# --- files --------------------------------------------------------------------------------------

CHANNEL = """\
ifengine: 1
channel: page
about: A page's example.
from: epic-adt
types: [ADT^A01, ADT^A08]
ignore_types: {identity: this page has no merges}
order_by: patient
"""


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def files_of(block: Block) -> dict[str, str]:
    """Return the files of a site that hold the block."""
    match block.kind:
        case "yaml channel" | "yaml excerpt":
            found = re.search(r"^channel: (\S+)", block.text, re.MULTILINE)
            assert found, f"{block.place}: no name"
            return {f"channels/{found[1]}.yaml": block.text}
        case "yaml site":
            return {"ifengine.yaml": block.text}
        case "yaml connections":
            site = (ROOT / "ifengine.yaml").read_text(encoding="utf-8")
            added = "".join(f"  {line}\n" for line in block.text.splitlines())
            tls = "tls:\n  hospital: {ca: certs/hospital.pem}\n"
            return {
                "ifengine.yaml": tls + site.replace("connections:\n", f"connections:\n{added}", 1)
            }
        case "yaml destination":
            body = f"to:\n  page:\n    connection: lis-adt\n{indented(block.text)}"
            return {"channels/page.yaml": CHANNEL + body}
        case _:
            body = f"steps:\n{block.text}to:\n  page: {{connection: lis-adt}}\n"
            return {"channels/page.yaml": CHANNEL + body}


# what the examples of steps look up, beside the tables of the site
TABLES = {
    "units": "from,to,factor,offset\ng/L,mg/L,1000,\n",
}

# what examples of `use` and `python` name
BESIDE = {
    "snippets/us-phone.yaml": "- replace: {in: '${with.field}', find: '-', with: ''}\n",
    "python/strange_lab.py": "def transform(msg, ctx):\n    pass\n",
}


def problems_of(files: dict[str, str], folder: Path) -> Sequence[Problem]:
    shutil.copytree(ROOT / "channels", folder / "channels")
    shutil.copy(ROOT / "ifengine.yaml", folder)
    for name, rows in TABLES.items():
        (folder / "channels" / "tables" / f"{name}.csv").write_text(rows, encoding="utf-8")
    for name, text in BESIDE.items():
        (folder / "channels" / name).parent.mkdir(exist_ok=True)
        (folder / "channels" / name).write_text(text, encoding="utf-8")
    # a page's channel stands alone, a page's site has the first channel
    kept = "" if any(name.startswith("channels/") for name in files) else "adt-fanout.yaml"
    if "ifengine.yaml" in files or not kept:
        for channel in (folder / "channels").glob("*.yaml"):
            if channel.name != kept:
                channel.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    loaded = load_site(folder, environ={})
    # an example has no tests, its sender no network, its neighbours no channel, its certificate no file
    aside = {"W201", "W212", "W203", "W224", "W229"}
    return [p for p in loaded.problems if p.code not in aside]


YAML = [block for block in BLOCKS if block.kind.startswith("yaml ")]


@pytest.mark.parametrize("block", YAML, ids=place)
def test_yaml_of_a_page_loads_without_a_problem(block: Block, tmp_path: Path) -> None:
    found = problems_of(files_of(block), tmp_path)
    if block.argument.startswith("warns "):
        # what the page says about it too
        assert {problem.code for problem in found} == set(block.argument.split()[1:])
        assert all(problem.severity is Severity.WARNING for problem in found)
    else:
        assert found == []


def test_a_mistake_in_the_yaml_of_a_page_would_be_found(tmp_path: Path) -> None:
    block = Block(ROOT / "README.md", 1, "yaml steps", "", "- uper: PID-5\n")
    assert problems_of(files_of(block), tmp_path) != []


@pytest.mark.parametrize("block", of_kind("yaml excerpt"), ids=place)
def test_an_excerpt_has_the_lines_of_its_file_in_their_order(block: Block) -> None:
    lines = iter((ROOT / block.argument).read_text(encoding="utf-8").splitlines())
    for line in block.text.splitlines():
        if line.strip() and line.strip() != "# …":
            assert line in lines, f"{block.place}: {line}"


# --- make, deploy -------------------------------------------------------------------------------


@pytest.mark.parametrize("block", of_kind("sh make"), ids=place)
def test_make_commands_name_targets(block: Block) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in block.text.splitlines():
        command = line.split("#")[0].split()
        assert command[0] == "make", f"{block.place}: {line}"
        words = [word for word in command[1:] if "=" not in word]
        assert words, f"{block.place}: {line}"
        assert set(words) <= targets, f"{block.place}: {line}"


@pytest.mark.parametrize("block", of_kind("sh deploy"), ids=place)
def test_deploy_commands_name_files_that_exist(block: Block) -> None:
    named = re.findall(r"(?<![\w/])deploy/[\w.-]+", block.text)
    assert named, block.place
    for name in named:
        assert (ROOT / name).is_file(), f"{block.place}: {name}"
    done = subprocess.run(["bash", "-n"], input=block.text.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr


# --- text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#")):
            path, _, part = target.partition("#")
            assert (page.parent / path).exists(), f"{page.name}: {target}"
            if part:
                heads = re.findall(r"^#+ (.+)$", (page.parent / path).read_text(), re.MULTILINE)
                assert part in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in heads}


def load_generator() -> object:
    import importlib.util

    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()
WRITTEN: dict[str, str] = GENERATOR.pages()  # type: ignore[attr-defined]


def test_reference_pages_are_all_generated() -> None:
    assert {page.name for page in GENERATED.iterdir()} == set(WRITTEN)


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_a_reference_page_is_what_the_source_says(name: str) -> None:
    page = (GENERATED / name).read_text(encoding="utf-8")
    assert page == WRITTEN[name], "run: .venv/bin/python docs/generate.py"


def test_every_table_of_keys_has_its_place_in_the_reference() -> None:
    from ifengine.routes.config.sections import NamedSections, SectionKind, Status

    tables = [*GENERATOR.CHANNEL_TABLES, *GENERATOR.SITE_TABLES]  # type: ignore[attr-defined]
    documented = [rows for _, _, rows in tables]
    for rows in documented:
        for key in rows:
            if key.status is Status.USED and isinstance(key.kind, SectionKind | NamedSections):
                assert key.kind.rows in documented, key.name


def test_every_example_of_a_key_can_be_read() -> None:
    from ifengine.routes.config.kinds import BAD
    from ifengine.routes.config.sections import Status
    from ifengine.routes.config.yaml_nodes import compose
    from ifengine.transforms.source import Entries, Problems

    tables = [*GENERATOR.CHANNEL_TABLES, *GENERATOR.SITE_TABLES]  # type: ignore[attr-defined]
    read = 0
    for title, _, rows in tables:
        for key in rows:
            if key.status is Status.LATER or "…" in key.example:
                continue
            problems = Problems()
            node = compose(f"{key.name}: {key.example}\n", "page", problems)
            assert isinstance(node, Entries), (title, key.name)
            ((_, value),) = list(node)
            assert key.kind.read(key.name, value, problems) is not BAD, (title, key.name)
            assert problems.ok, (title, key.name, problems.found)
            read += 1
    assert read > 80


STEP_EXAMPLES = re.findall(r"^\| `(\w+)` .* \| `(.*)` \|$", WRITTEN["steps.md"], re.MULTILINE)


@pytest.mark.parametrize(("verb", "example"), STEP_EXAMPLES, ids=[v for v, _ in STEP_EXAMPLES])
def test_the_example_of_a_step_loads_in_a_channel(verb: str, example: str, tmp_path: Path) -> None:
    beside = "  do: [{clear: OBX-8}]\n" if verb == "for_each" else ""
    text = f"- {example}\n{beside}".replace("\\|", "|")
    block = Block(GENERATED / "steps.md", 1, "yaml steps", "", text)
    # the channel around takes admissions, of which no sender waits for an answer
    around = {"W306", "E246"}
    found = problems_of(files_of(block), tmp_path)
    assert [problem for problem in found if problem.code not in around] == []


def test_the_steps_of_the_reference_are_all_there() -> None:
    from ifengine.transforms.table_of_steps import STEPS

    assert [verb for verb, _ in STEP_EXAMPLES] == [row.verb for row in STEPS]
