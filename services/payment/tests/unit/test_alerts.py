"""deploy/prometheus: alerts ask for what exists, are tried both ways and have a runbook in operations.md."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from promql import (
    OPERATIONS_MD,
    RULES,
    Metric,
    alerts,
    catalogue,
    known_metrics,
    names,
    problems,
    rules,
    selectors,
)

BASE = "https://github.com/OWNER/payment/blob/main/docs/operations.md#"
SEVERITIES = {"critical", "warning"}
CASES = RULES.with_name("rules.test.yml")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus"
)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


def cases_of(alert: str) -> list[dict[str, Any]]:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    return [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == alert]


def runbook() -> dict[str, str]:
    """Return the sections below `## Alerts`, by heading."""
    text = OPERATIONS_MD.read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    _, *sections = text.split("\n### ")
    return {section.split("\n")[0]: section for section in sections}


def read_by(expression: str) -> set[str]:
    """Return the metrics of the catalogue that an expression reads, through recorded ones too."""
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    read: set[str] = set()
    for selector in selectors(expression):
        if selector.name in recorded:
            read |= read_by(recorded[selector.name])
        read.add(re.sub(r"_(bucket|sum|count)$", "", selector.name))
    return read - set(recorded)


def test_every_rule_asks_for_what_exists() -> None:
    known = known_metrics()
    assert [problem for rule in rules() for problem in problems(rule["expr"], known)] == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("max(payment_queue_lenght)", "payment_queue_lenght: no such metric"),
        ("sum(rate(payment_told_seconds[5m]))", "payment_told_seconds: no such metric"),
        ('max(payment_pending{service="order"})', "payment_pending: has no label service"),
        ("max by (service) (payment_pending)", "payment_pending: has no label service"),
        ("max(payment_pending) and on (state) max(payment_pending)", "payment_pending: has no label state"),
        ('max(payment_circuit_open{service="kitchen"})', "payment_circuit_open: service is never kitchen"),
        ('max(payment_notifications{state=~"died|lost"})', "payment_notifications: state is never died|lost"),
        (
            'sum(rate(payment_told_seconds_bucket{le="2"}[5m]))',
            "payment_told_seconds_bucket: le is never 2",
        ),
        ('max(payment_ready{job="api"})', "payment_ready: job is never api"),
        ("max(rate(payment_pending[5m]))", "payment_pending: rate of a gauge"),
        (
            "sum(avg_over_time(payment_requests_total[5m]))",
            "payment_requests_total: avg_over_time of a counter",
        ),
        ("payment_ready == 0", "payment_ready: not aggregated in payment_ready == 0"),
        (
            "histogram_quantile(0.9, sum by (pool) (rate(payment_database_wait_seconds_bucket[5m])))",
            "histogram_quantile without le",
        ),
    ],
)
def test_a_query_that_can_have_no_right_answer_is_noticed(query: str, problem: str) -> None:
    found = problems(query, known_metrics())
    assert [each for each in found if each.startswith(problem)], found


def test_the_names_of_a_query_are_found_wherever_they_stand() -> None:
    query = (
        'sum by (job, le) (rate(a_total{b="c{d}", e!~"f"}[5m] offset 1h)) / on (job) group_left (g) h'
        " > bool 1e3 unless max_over_time(i[1h:]) or time() - j{}"
    )
    found = {selector.name: selector for selector in selectors(query)}
    assert list(found) == ["a_total", "h", "i", "j"]
    assert found["a_total"].matchers == (("b", "=", "c{d}"), ("e", "!~", "f"))
    assert found["a_total"].inside == ("sum", "rate")
    assert found["h"].inside == ()


def test_the_table_of_metrics_is_understood() -> None:
    known = known_metrics()
    assert len(catalogue()) >= 20
    assert known["payment_requests_total"] == Metric("counter", frozenset({"operation", "status"}))
    assert known["payment_ready"] == Metric("gauge", frozenset())
    assert known["payment_told_seconds_bucket"].labels == {"service", "le"}
    assert known["payment_told_seconds_bucket"].bounds is not None
    assert {"0.01", "2.0", "3600.0", "+Inf"} <= known["payment_told_seconds_bucket"].bounds
    assert known["process_cpu_seconds_total"].kind == "counter"


@pytest.mark.parametrize("row", catalogue(), ids=lambda row: row["name"])
def test_every_metric_has_its_alerts_or_the_reason_why_it_has_none(row: dict[str, str]) -> None:
    mine = set(names(row["name"]))
    using = {name for name, rule in alerts().items() if mine & read_by(rule["expr"])}
    linked = dict(re.findall(r"\[(\w+)\]\(#(\w+)\)", row["alert"]))
    assert set(linked) == using, row["alert"]
    assert all(anchor == name.lower() for name, anchor in linked.items())
    if not using:
        assert re.match(r"none: \w.{20,}", row["alert"]), "why is there no alert?"


def test_every_alert_says_how_bad_it_is_and_where_its_runbook_is() -> None:
    for name, rule in alerts().items():
        assert rule["labels"].keys() == {"severity"}, name
        assert rule["labels"]["severity"] in SEVERITIES, name
        assert rule["annotations"].keys() == {"summary", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == BASE + name.lower()
        indonesian, english = rule["annotations"]["summary"].rsplit(" / ", 1)
        assert min(len(indonesian), len(english)) > 8, name


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert set(runbook()) == set(alerts())
    for name, section in runbook().items():
        bold = re.findall(r"^- \*\*(.+?)\*\*: \S", section, re.MULTILINE)
        assert bold == ["Means", "Look at", "Do"], name
        assert len(section.splitlines()) <= 12, f"{name}: who is woken reads no more"


def test_what_the_runbooks_lead_to_is_there() -> None:
    text = OPERATIONS_MD.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert len(anchors) == len(headings), "two headings, one anchor"
    links = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert links - anchors == set()
    urls = [rule["annotations"]["runbook_url"] for rule in alerts().values()]
    assert {url.removeprefix(BASE) for url in urls} <= anchors


def test_every_alert_is_tried_both_ways() -> None:
    for name in alerts():
        fires = {bool(case.get("exp_alerts")) for case in cases_of(name)}
        assert fires == {True, False}, f"{name}: a case in which it fires, one in which it does not"


@needs_promtool
def test_the_rules_fire_when_they_should_and_only_then() -> None:
    checked, tested = promtool("check", "rules", RULES), promtool("test", "rules", CASES)
    assert checked.returncode == 0, checked.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr


def failing(folder: Path, changed: str) -> set[str]:
    """Return the alerts of which a case fails once the rules are these."""
    (folder / RULES.name).write_text(changed)
    shutil.copy(CASES, folder)
    tested = promtool("test", "rules", folder / CASES.name)
    return set(re.findall(r"^ *alertname: (\w+), time:", tested.stdout + tested.stderr, re.MULTILINE))


@needs_promtool
@pytest.mark.parametrize("expression", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
def test_an_alert_that_fires_never_or_always_is_noticed(expression: str, tmp_path: Path) -> None:
    group = {"name": "all", "rules": [rule | {"expr": expression, "for": "0s"} for rule in alerts().values()]}
    assert failing(tmp_path, yaml.safe_dump({"groups": [group]})) == set(alerts())


@needs_promtool
def test_what_an_alert_must_not_take_for_something_else_is_noticed(tmp_path: Path) -> None:
    is_open = "max by (service) (payment_circuit_open) == 1"
    changes = {
        "PaymentDeadLetters": ('{state="dead"}) > 0', f'{{state="dead"}}) > 0 unless {is_open}'),
        "PaymentCircuitOpen": ('and max by (service) (payment_notifications{state="waiting"}) > 0', ""),
        "PaymentFreshnessFastBurn": (
            "unless max by (service) (max_over_time(payment_circuit_open[10m])) == 1",
            "",
        ),
        "PaymentFreshnessSlowBurn": ("ratio_rate30m > 6 * 0.01", "ratio_rate30m >= 0"),
        "PaymentRequestsFail": (', operation!="ready"', ""),
        "PaymentTargetDown": ('up{job=~"payment-.+"}', "up"),
    }
    text = RULES.read_text()
    for was, becomes in changes.values():
        assert was in text
        text = text.replace(was, becomes)
    assert failing(tmp_path, text) == set(changes)


@needs_promtool
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """The key is where Compose mounts it, which is not here."""
    text = RULES.with_name("prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/", ""))
    for name in ("rules.yml", "no_key"):
        shutil.copy(RULES.with_name(name), tmp_path)
    (tmp_path / "no_key").rename(tmp_path / "metrics_key")
    checked = promtool("check", "config", tmp_path / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_key_that_the_repository_brings_is_none() -> None:
    assert RULES.with_name("no_key").read_text() == "none\n"
