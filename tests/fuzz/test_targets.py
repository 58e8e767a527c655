"""Hostile bytes at everything that reads bytes. A coverage-guided fuzzer runs the same targets."""

import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from campaigns import Ledger, seed, trials
from fuzz.targets import CASES, TARGETS, Target, cases, seeds


def long_bytes(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


# Hypothesis makes short and shrunk ones; the long ones reach what takes many choices
ANY_BYTES = st.binary(max_size=120) | st.builds(
    long_bytes, st.integers(0, 2**64 - 1), st.sampled_from((60, 200, 600, 1500))
)


def tried(target: Target, examples: int, number: int) -> int:
    """Try that many examples and return how many there were; the first that fails is raised."""
    count = 0

    @seeded(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(ANY_BYTES)
    def look(data: bytes) -> None:
        nonlocal count
        count += 1
        target.run(data)

    look()
    return count


@pytest.mark.chaos
@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_break_what_a_reader_promises(name: str, ledger: Ledger) -> None:
    target, number = TARGETS[name], seed()
    wanted = trials(target.examples, target.examples * 50, "IFENGINE_FUZZ_EXAMPLES")
    failed = 1
    try:
        wanted = tried(target, wanted, number)
        failed = 0
    finally:
        ledger.record(
            target.promise, f"fuzz {name}", trials=wanted, failures=failed, found=f"seed {number}"
        )


@pytest.mark.parametrize("name", TARGETS)
def test_no_message_that_exists_breaks_what_a_reader_promises(name: str) -> None:
    target = TARGETS[name]
    for data in seeds(target):
        target.run(data)


@pytest.mark.parametrize(
    ("name", "case"), [(name, path.name) for name in TARGETS for path in cases(name)]
)
def test_what_once_failed_does_not_fail_again(name: str, case: str) -> None:
    TARGETS[name].run((CASES / name / case).read_bytes())


def test_every_case_belongs_to_a_target() -> None:
    assert {path.name for path in CASES.iterdir()} <= set(TARGETS)


def test_every_target_says_what_it_holds_to() -> None:
    assert all(target.what for target in TARGETS.values())
