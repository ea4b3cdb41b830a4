"""Envoy's own metrics, read over its admin socket and passed on as Prometheus metrics.

Only those that dashboards and alerts use: all of them would be ten times as many. Counters get the suffix `_total`,
which OpenMetrics requires and Envoy omits: `envoy_http_downstream_rq_xx_total`.
"""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

TIMEOUT = 2.0
MOST_BYTES = 1024 * 1024
# Names as Envoy stores them, before labels are extracted.
WANTED = (
    r"http\.plinth\.downstream_(cx_active|rq_(active|total|time|timeout|rx_reset|\dxx))"
    r"|cluster\.[^.]+\.upstream_cx_(active|total|connect_fail|connect_timeout)"
    r"|cluster\.[^.]+\.upstream_rq_(active|total|time|timeout|retry|pending_overflow|\dxx)"
    r"|cluster\.[^.]+\.(membership_(healthy|total)|health_check\.(attempt|failure))"
    r"|server\.(live|uptime|memory_allocated|total_connections)"
    r"|overload\..*\.active"
)
PATH = f"/stats/prometheus?usedonly&filter={quote(f'^({WANTED})$')}"


class GatewayStatistics(Collector):
    """Reads at every scrape. While Envoy does not answer, the only metric is `plinth_gateway_up` 0."""

    def __init__(self, admin: Path) -> None:
        """`admin` is Envoy's socket. If it does not exist, no gateway has run, and no metric is returned."""
        self._admin = admin

    def collect(self) -> Iterator[Metric]:
        """All wanted metrics that have been used."""
        if not self._admin.exists():
            return
        try:
            families = list(text_string_to_metric_families(_ask(self._admin)))
        except PermissionError:
            # Another user runs Envoy and collects its metrics.
            return
        except (OSError, http.client.HTTPException, ValueError):
            families = []
        yield GaugeMetricFamily("plinth_gateway_up", "Whether Envoy answers at its admin socket.", len(families) > 0)
        yield from families


def _ask(admin: Path) -> str:
    connection = http.client.HTTPConnection("admin", timeout=TIMEOUT)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(TIMEOUT)
        connection.sock.connect(str(admin))
        connection.request("GET", PATH, headers={"connection": "close"})
        answer = connection.getresponse()
        text = answer.read(MOST_BYTES)
        if answer.status != http.client.OK or answer.read(1):
            raise ValueError(f"Envoy answered {answer.status} with more than {len(text)} bytes")
        return text.decode()
    finally:
        connection.close()
