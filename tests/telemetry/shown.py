"""What deploy/grafana asks Prometheus for, and what the server has defined."""
# ruff: noqa: SLF001 - how a metric is defined is not told otherwise

import json
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from tests.everything import import_everything

import_everything()
FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"


def alerts() -> list[dict[str, Any]]:
    """Every alert, of all groups."""
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return found


def expressions() -> list[str]:
    """Every expression of alerts and dashboard, its variables included."""
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    variables = [one["definition"] for one in dashboard()["templating"]["list"] if one["type"] == "query"]
    return [*(alert["expr"] for alert in alerts()), *panels, *variables]


def metrics() -> list[MetricWrapperBase]:
    """Every metric that the server defines."""
    found = REGISTRY._collector_to_names
    ours = [one for one in found if isinstance(one, MetricWrapperBase) and one._name.startswith("plinth_")]
    return [one for one in ours if not one._name.startswith("plinth_test_")]


def defined() -> dict[str, set[str]]:
    """The samples that these metrics have, by name, with their labels."""
    samples: dict[str, set[str]] = {}
    for metric in metrics():
        name, labels = metric._name, set(metric._labelnames)
        if metric._type == "histogram":
            samples |= {f"{name}_sum": labels, f"{name}_count": labels, f"{name}_bucket": labels | {"le"}}
        else:
            samples[f"{name}_total" if metric._type == "counter" else name] = labels
    return samples
