import math
import re
import subprocess
import typing
from pathlib import Path

import pytest
from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

from ifengine.telemetry import metrics as module
from ifengine.telemetry.counted import BUCKETS, Counter, Histogram
from ifengine.telemetry.metrics import (
    FAMILIES,
    MOST_LABEL_SETS,
    Labelled,
    Metrics,
    by_name,
    type_label,
)
from requirements import require

DESIGN = Path(__file__).parents[2] / ".." / "shared" / "design" / "monitoring.md"
KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
NOT_YET: set[str] = set()  # documented, of a later release


def series(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_every_documented_family_is_an_attribute_of_its_kind_and_no_other_exists() -> None:
    metrics = Metrics()
    annotated = typing.get_type_hints(Metrics)
    assert set(annotated) == {family.name for family in FAMILIES}
    for family in FAMILIES:
        found = getattr(metrics, family.name)
        kind = KINDS[family.kind]
        wanted = Labelled[kind] if family.labels else kind  # type: ignore[valid-type]
        assert annotated[family.name] == wanted, family.name
        assert isinstance(found, Labelled if family.labels else kind)


def test_every_family_takes_the_labels_it_documents() -> None:
    metrics = Metrics()
    for family in FAMILIES:
        if family.labels:
            child = getattr(metrics, family.name).labels(
                *[f"v{i}" for i, _ in enumerate(family.labels)]
            )
            assert isinstance(child, KINDS[family.kind])
            with pytest.raises(ValueError, match="label"):
                getattr(metrics, family.name).labels(*["v"] * (len(family.labels) + 1))


def test_the_design_table_and_the_families_agree() -> None:
    if not DESIGN.exists():
        pytest.skip("the design documents are not beside the repository")
    documented: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line in DESIGN.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`ifengine_"):
            labels = () if cells[2] == "–" else tuple(cells[2].split(", "))  # noqa: RUF001
            for name in re.findall(r"`(ifengine_\w+)`", cells[0]):
                documented[name] = (cells[1], labels)
    assert len(documented) > 30
    ours = by_name()
    assert set(documented) - set(ours) == NOT_YET
    for name in set(documented) & set(ours):
        assert (ours[name].kind, ours[name].labels) == documented[name], name


def test_the_exposition_passes_promtool() -> None:
    promtool = require("program:promtool")
    metrics = Metrics()
    metrics.queue_messages.labels("c", "d").set(1)
    metrics.ack_duration_seconds.labels("c").observe(0.1)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.render(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_histograms_have_twelve_buckets_from_5_ms_to_30_s() -> None:
    assert (len(BUCKETS), BUCKETS[0], BUCKETS[-1]) == (12, 0.005, 30.0)
    metrics = Metrics()
    metrics.ack_duration_seconds.labels("c").observe(0.004)
    found = series(metrics)
    assert found["ifengine_ack_duration_seconds_bucket", ("c", "0.005")] == 1
    assert found["ifengine_ack_duration_seconds_bucket", ("c", "30.0")] == 1


def test_no_created_series_are_shown_and_process_and_collector_are() -> None:
    text = Metrics().render()
    assert b"_created" not in text
    assert b"process_resident_memory_bytes" in text
    assert b"python_gc_collections_total" in text


def test_two_engines_in_one_process_do_not_share_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.duplicates_total.labels("c").inc()
    assert ("ifengine_duplicates_total", ("c",)) in series(one)
    assert ("ifengine_duplicates_total", ("c",)) not in series(other)


def test_label_sets_past_the_limit_are_counted_and_not_shown() -> None:
    metrics = Metrics()
    for number in range(MOST_LABEL_SETS):
        metrics.rejected_total.labels("c", str(number)).inc()
    refused = metrics.rejected_total.labels("c", "one too many")
    refused.inc()
    metrics.rejected_total.labels("c", "7").inc()  # a known one still counts
    found = series(metrics)
    assert ("ifengine_rejected_total", ("c", "one too many")) not in found
    assert found["ifengine_rejected_total", ("c", "7")] == 2
    assert found["ifengine_metric_overflow_total", ("rejected_total",)] == 1
    assert sum(key[0] == "ifengine_rejected_total" for key in found) == MOST_LABEL_SETS


def test_a_gauge_is_not_a_number_until_somebody_has_looked() -> None:
    metrics = Metrics()
    assert math.isnan(series(metrics)["ifengine_audit_chain_valid", ()])
    metrics.audit_chain_valid.set(1)
    assert series(metrics)["ifengine_audit_chain_valid", ()] == 1


def test_a_removed_label_set_is_no_longer_shown_and_can_come_back() -> None:
    metrics = Metrics()
    metrics.dead_letters.labels("c", "d", "x").set(3)
    metrics.dead_letters.remove("c", "d", "x")
    metrics.dead_letters.remove("c", "d", "never")
    assert ("ifengine_dead_letters", ("c", "d", "x")) not in series(metrics)
    metrics.dead_letters.labels("c", "d", "x").set(1)
    metrics.dead_letters.labels("c", "d", "y").set(1)
    metrics.dead_letters.clear()
    assert not [key for key in series(metrics) if key[0] == "ifengine_dead_letters"]


@pytest.mark.parametrize(
    ("code", "event", "label"),
    [
        ("ADT", "A01", "ADT^A01"),
        ("ADT", "A99", "other"),
        ("ORU", "R01", "ORU^*"),
        ("ORU", "", "ORU^*"),
        ("CANARY", "A01", "other"),
        ("*", "*", "other"),
        ("", "", "other"),
    ],
)
def test_only_configured_types_become_labels(code: str, event: str, label: str) -> None:
    assert type_label(code, event, {"ADT^A01", "ORU^*", "*^*"}) == label


def test_the_versions_are_shown() -> None:
    assert any(
        name == "ifengine_build_info" and module.__version__ in labels
        for name, labels in series(Metrics())
    )
