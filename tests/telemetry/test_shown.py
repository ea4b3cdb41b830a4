"""Dashboard and alert rules: files that Grafana and Prometheus take, and metrics that there are."""
# ruff: noqa: SLF001 - how a metric is defined is not told otherwise

import re

import pytest
from prometheus_client import Gauge

from tests.telemetry.scrapes import labels_in, names_in
from tests.telemetry.shown import alerts, dashboard, defined, expressions, metrics

# What has a few values, however many call and whoever they are.
LABELS = {"method", "code", "pool", "process", "outcome", "rate_class", "dependency", "reason", "reader", "queue"}
LABELS |= {"status", "task", "table", "loop", "part", "database", "scope", "provider"}
# What the endpoint adds; test_scrape.py holds that it is there.
ADDED = re.compile(r"envoy_.*|plinth_gateway_up")
ROWS = {"traffic", "errors", "latency", "query time", "pools", "cache", "limits", "events", "webhooks", "streams"}
ROWS |= {"jobs", "audit", "engines"}
DURATION = re.compile(r"\d+[smhd]")
VARIABLES = re.compile(r"\$(\w+)")


def test_every_alert_says_what_and_how_bad() -> None:
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names)) >= 12
    for alert in alerts():
        assert alert.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert DURATION.fullmatch(alert.get("for", "1m"))
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert alert["annotations"].keys() == {"summary", "description"}


@pytest.mark.parametrize(
    ("name", "bound"),
    [("PlinthErrors", "> 0.01"), ("PlinthGatewayErrors", "> 0.01"), ("PlinthSlow", "> 0.15")],
)
def test_the_bounds_are_those_that_were_asked_for(name: str, bound: str) -> None:
    (alert,) = [alert for alert in alerts() if alert["alert"] == name]
    assert alert["expr"].strip().endswith(bound)
    assert "[5m]" in alert["expr"]


def test_every_expression_asks_for_metrics_and_is_balanced() -> None:
    for expression in expressions():
        assert names_in(expression), expression
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression


def test_every_metric_that_is_asked_for_is_defined_with_its_labels() -> None:
    known = defined()
    for expression in expressions():
        for name, labels in labels_in(expression).items():
            assert ADDED.fullmatch(name) or labels <= known[name], (name, expression)


def test_labels_have_few_values_and_gauges_end_with_their_process() -> None:
    assert len(metrics()) > 30
    for metric in metrics():
        assert {*metric._labelnames} <= LABELS, metric
        if isinstance(metric, Gauge):
            assert metric._multiprocess_mode.startswith("live"), metric


def test_the_dashboard_has_its_rows_and_one_data_source_to_choose() -> None:
    found = dashboard()
    titles = " ".join(panel["title"].lower() for panel in found["panels"] if panel["type"] == "row")
    assert [row for row in ROWS if row not in titles] == []
    variables = {variable["name"]: variable["type"] for variable in found["templating"]["list"]}
    assert variables["datasource"] == "datasource"
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))
    for panel in found["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert set(VARIABLES.findall(target["expr"])) <= {*variables, "__rate_interval"}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
