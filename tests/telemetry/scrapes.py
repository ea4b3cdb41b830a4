"""Scrapes of an endpoint, as Prometheus takes them: samples by name and labels."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT = 30.0
RETRIES = 5
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
# Names of metrics in an expression of PromQL, and where names of labels stand.
NAME = re.compile(r"\b(?:plinth|envoy)_[a-z0-9_]+\b")
LABELS = re.compile(r"\{[^}]*\}|\bby \([^)]*\)")
SELECTED = re.compile(r"([a-z_]+)\{([^}]*)\}")
LABEL = re.compile(r"([a-z_]+)\s*[=!]")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
# Prometheus adds it to whatever it scrapes.
ADDED = "instance"


@dataclass(frozen=True)
class Scrape:
    """One answer."""

    families: tuple[Metric, ...]
    samples: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for family in self.families:
            for sample in family.samples:
                self.samples.setdefault(sample.name, []).append((sample.labels, sample.value))

    def total(self, name: str, /, **labels: str) -> float:
        """The sum of all samples of this name that have these labels; 0 without any."""
        return sum(value for own, value in self.samples.get(name, ()) if labels.items() <= own.items())

    def labels(self, name: str) -> set[str]:
        """The labels of all samples of this name."""
        return {label for own, _ in self.samples.get(name, ()) for label in own}

    def has(self, name: str, /, **labels: str) -> bool:
        """Whether there is a sample of this name with these labels."""
        return any(labels.items() <= own.items() for own, _ in self.samples.get(name, ()))


def fetch(url: str, accept: str = "") -> httpx.Response:
    """The answer of an endpoint."""
    # A stack that serves may begin to answer Prometheus a moment later.
    with httpx.Client(transport=httpx.HTTPTransport(retries=RETRIES), timeout=TIMEOUT) as client:
        return client.get(url, headers={"accept": accept} if accept else {})


def scrape(url: str) -> Scrape:
    """What an endpoint answers now. Raises AssertionError when it is no answer."""
    answer = fetch(url)
    assert answer.status_code == 200, answer.text
    return parsed(text_string_to_metric_families(answer.text))


def answers(url: str) -> bool:
    """Whether somebody answers."""
    try:
        return httpx.get(url, timeout=TIMEOUT, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def parsed(families: Iterable[Metric]) -> Scrape:
    """A scrape of these."""
    return Scrape(tuple(families))


def names_in(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    return set(NAME.findall(LABELS.sub("", expression)))


def labels_in(expression: str) -> dict[str, set[str]]:
    """The labels that an expression asks for, by metric."""
    grouped = {label.strip() for listed in GROUPED.findall(expression) for label in listed.split(",")}
    found = {name: set(grouped) for name in names_in(expression)}
    for name, selectors in SELECTED.findall(expression):
        found.setdefault(name, set()).update(LABEL.findall(selectors))
    return {name: labels - {ADDED} for name, labels in found.items()}
