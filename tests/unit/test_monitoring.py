"""Alerts, their runbook, the scrape configuration and the dashboard fit the metrics we declare."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser as promql
import pytest
import yaml
from kinlink_core.runtime.metrics import declared_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy/k8s/monitoring"
RUNBOOK = ROOT / "docs/how-to/runbook.md"
SEVERITIES = {"critical", "warning"}
# What Prometheus and its client library add to every target.
FOREIGN_METRICS = {"up": set(), "process_resident_memory_bytes": set(), "ALERTS": {"alertstate"}}
TARGET_LABELS = {"job", "instance", "namespace", "severity"}
JOBS = {"kinlink-registry", "kinlink-linker", "kinlink-gateway", "kinlink-keyserver"}


def _series() -> dict[str, set[str]]:
    """Exposed series name → its labels."""
    series = dict(FOREIGN_METRICS)
    for metric in declared_metrics():
        labels = set(metric.labels)
        if metric.kind == "histogram":
            series[f"{metric.name}_bucket"] = labels | {"le"}
            series[f"{metric.name}_sum"] = labels
            series[f"{metric.name}_count"] = labels
        else:
            series[metric.name] = labels
    return series


SERIES = _series()


def _alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


ALERTS = _alerts()


def _panel_queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def _dashboard_queries() -> list[tuple[str, str]]:
    return list(_panel_queries(json.loads((MONITORING / "dashboard.json").read_text())))


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None:
            yield from _walk(child)
    for argument in getattr(node, "args", ()):
        yield from _walk(argument)


def _faults(expression: str) -> list[str]:
    """What an expression uses that nothing exposes."""
    plain = expression.replace("$__rate_interval", "5m").replace("$job", ".+")
    nodes = list(_walk(promql.parse(plain)))
    selectors = [node for node in nodes if isinstance(node, promql.VectorSelector)]
    faults = [f"unknown series {s.name}" for s in selectors if s.name not in SERIES]
    known = set().union(*(SERIES.get(s.name, set()) for s in selectors)) | TARGET_LABELS
    for selector in selectors:
        own = SERIES.get(selector.name, set()) | TARGET_LABELS
        faults += [
            f"{selector.name} has no label {matcher.name}"
            for matcher in selector.matchers.matchers
            if matcher.name not in own
        ]
    for node in nodes:
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            faults += [f"no label {label}" for label in node.modifier.labels if label not in known]
    return faults


def _anchors(markdown: str) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_uses_only_declared_metrics_and_labels(alert: dict[str, Any]) -> None:
    assert _faults(alert["expr"]) == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_names_only_labels_that_its_expression_can_have(alert: dict[str, Any]) -> None:
    text = " ".join(alert["annotations"].values())
    used = set(re.findall(r"\$labels\.(\w+)", text))
    selectors = [n for n in _walk(promql.parse(alert["expr"])) if hasattr(n, "matchers")]
    possible = set().union(*(SERIES[s.name] for s in selectors)) | TARGET_LABELS
    assert used <= possible


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_a_severity_and_a_heading_of_its_own_in_the_runbook(
    alert: dict[str, Any],
) -> None:
    assert alert["labels"]["severity"] in SEVERITIES
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert ROOT / page == RUNBOOK
    assert anchor == alert["alert"].lower()
    assert anchor in _anchors(RUNBOOK.read_text())


def test_the_runbook_keeps_no_heading_of_an_alert_that_is_gone() -> None:
    text = RUNBOOK.read_text()
    named = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert named == {alert["alert"] for alert in ALERTS}


def test_every_alert_is_tested_to_fire_and_to_stay_quiet() -> None:
    fires, quiet = set(), set()
    for path in MONITORING.glob("*_test.yaml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case["alert_rule_test"]:
                (fires if check["exp_alerts"] else quiet).add(check["alertname"])
    names = {alert["alert"] for alert in ALERTS}
    assert fires == names
    assert quiet == names


def test_rule_tests_feed_only_series_that_exist() -> None:
    unknown = set()
    for path in MONITORING.glob("*_test.yaml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for fed in case["input_series"]:
                unknown.update(_faults(fed["series"]))
    assert unknown == set()


@pytest.mark.parametrize(("title", "expression"), _dashboard_queries())
def test_a_dashboard_query_uses_only_declared_metrics_and_labels(
    title: str, expression: str
) -> None:
    assert _faults(expression) == [], title


def test_a_query_with_an_unknown_metric_or_label_would_be_found() -> None:
    assert _faults("kinlink_nothing_total") == ["unknown series kinlink_nothing_total"]
    assert _faults('kinlink_ready{registry="x"}') == ["kinlink_ready has no label registry"]
    assert _faults("sum by (color) (kinlink_ready)") == ["no label color"]


def test_dashboard_panels_have_their_own_ids_and_do_not_overlap() -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_targets_carry_the_job_names_that_rules_ask_for() -> None:
    targets = yaml.safe_load((MONITORING / "targets.yaml").read_text())
    assert {entry["labels"]["job"] for entry in targets} == JOBS


def test_the_memory_alert_stands_at_nine_tenths_of_each_limit() -> None:
    alert = next(a for a in ALERTS if a["alert"] == "MemoryNearLimit")
    thresholds = dict(re.findall(r'job="([\w-]+)"\} > ([\d.e]+)', alert["expr"]))
    assert set(thresholds) == JOBS
    for job, threshold in thresholds.items():
        folder = ROOT / "deploy/k8s/base" / job.removeprefix("kinlink-")
        text = "".join(path.read_text() for path in folder.glob("*.yaml"))
        gibibytes = re.search(r"limits:\n\s+cpu: .*\n\s+memory: (\d+)Gi", text)
        assert gibibytes is not None
        assert float(threshold) == pytest.approx(0.9 * int(gibibytes[1]) * 2**30, rel=0.02)


def test_alerts_that_page_and_alerts_that_wait_have_each_their_receiver() -> None:
    sample = yaml.safe_load((MONITORING / "alertmanager.yaml").read_text())
    receivers = {receiver["name"] for receiver in sample["receivers"]}
    routes = [sample["route"], *sample["route"]["routes"]]
    assert {route["receiver"] for route in routes} == receivers
