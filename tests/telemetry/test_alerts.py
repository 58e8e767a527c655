import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ifengine.telemetry.metrics import by_name
from requirements import require

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts.yml"
CASES = Path(__file__).with_name("alerts_test.yml")


def test_every_metric_of_a_rule_exists_with_the_labels_it_uses() -> None:
    families = by_name()
    expressions = re.findall(r"expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)", RULES.read_text())
    assert len(expressions) >= 15
    for several, one in expressions:
        text = several or one
        for name in re.findall(r"ifengine_\w+", text.replace('job="ifengine"', "")):
            assert name.removesuffix("_bucket") in families, name
        for labels in re.findall(r"by \(([\w, ]+)\)", text):
            known = {label for family in families.values() for label in family.labels} | {"le"}
            assert set(labels.split(", ")) <= known


def test_every_alert_waits_but_the_two_that_must_not() -> None:
    alerts = re.split(r"\n      - ", RULES.read_text())[1:]
    at_once = {
        alert.split("\n")[0].removeprefix("alert: ")
        for alert in alerts
        if alert.startswith("alert:") and "for:" not in alert
    }
    assert at_once == {"IfengineDeadLetterBurst", "IfengineAuditBroken"}


@pytest.mark.parametrize("command", [("check", "rules"), ("test", "rules"), ("check", "config")])
def test_promtool_accepts_the_rules_and_their_cases(
    command: tuple[str, str], tmp_path: Path
) -> None:
    promtool = require("program:promtool")
    for file in (RULES, CASES, DEPLOY / "prometheus.yml"):
        shutil.copy(file, tmp_path)
    file = {"check rules": RULES, "test rules": CASES, "check config": DEPLOY / "prometheus.yml"}[
        " ".join(command)
    ]
    done = subprocess.run(
        [promtool, *command, file.name], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
