"""Coverage-guided fuzzing of the targets with libFuzzer, through atheris (``make fuzz``).

``python tests/fuzz/guided.py [TARGET …]``: each in a process of its own, for IFENGINE_FUZZ_SECONDS.
What breaks a target is kept under ``var/fuzz/TARGET``; mend it, and put it into ``tests/fuzz/cases``.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ifengine"]):
    from fuzz.targets import CASES, TARGETS, seeds

from campaigns import Tried, table

VAR = Path("var") / "fuzz"
MOST_BYTES = 3000
LONGEST_RUN_SECONDS = 20
MOST_MEGABYTES = 2048


def guided(name: str, seconds: int) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    target = TARGETS[name]
    corpus = VAR / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(target)):
        (corpus / f"seed-{number}").write_bytes(data[:MOST_BYTES])
    options = [
        f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", f"-timeout={LONGEST_RUN_SECONDS}",
        f"-rss_limit_mb={MOST_MEGABYTES}", f"-artifact_prefix={VAR / name}/", "-print_final_stats=1",
        "-verbosity=1",
    ]  # fmt: skip
    folders = [str(corpus), *([str(CASES / name)] if (CASES / name).is_dir() else [])]
    atheris.Setup([sys.argv[0], *options, *folders], target.run)
    atheris.Fuzz()


def main(names: list[str]) -> int:
    """Fuzz targets one after another, and print what was tried."""
    seconds = int(os.environ.get("IFENGINE_FUZZ_SECONDS", "30"))
    rows: list[Tried] = []
    for name in names or list(TARGETS):
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, str(seconds)],
            capture_output=True,
            check=False,
        )
        said = done.stderr.decode("utf-8", "replace") + done.stdout.decode("utf-8", "replace")
        words = [line.split() for line in said.splitlines()]
        runs = [int(w[1]) for w in words if w[:1] == ["stat::number_of_executed_units:"]]
        reached = [w[w.index("cov:") + 1] for w in words if "cov:" in w]
        found = f"{time.monotonic() - begun:.0f} s, coverage {reached[-1] if reached else '?'}"
        failures = int(done.returncode != 0)
        rows.append(
            Tried(TARGETS[name].promise, f"guided {name}", runs[-1] if runs else 0, failures, found)
        )
        print(f"{name}: {'FAILED' if failures else 'clean'}, {found}", flush=True)
        if failures:
            print("\n".join(said.splitlines()[-40:]))
    print("\n".join(table(rows)))
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        guided(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1:]))
