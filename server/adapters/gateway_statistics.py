"""What Envoy measures of itself, read over its admin socket, as Prometheus' metrics.

Only what dashboards and alerts ask for: all of it would be ten times as much. Counters get the suffix `_total`, which
OpenMetrics demands and Envoy leaves out: `envoy_http_downstream_rq_xx_total`.
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
# Names as Envoy keeps them, before labels are taken out of them.
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
    """Asks at every scrape. While Envoy does not answer, nothing but `plinth_gateway_up` 0 comes of it."""

    def __init__(self, admin: Path) -> None:
        """`admin` is Envoy's socket; where there is none, there has been no gateway, and nothing is said of it."""
        self._admin = admin

    def collect(self) -> Iterator[Metric]:
        """Every metric that is wanted and has been touched."""
        if not self._admin.exists():
            return
        try:
            families = list(text_string_to_metric_families(_ask(self._admin)))
        except PermissionError:
            # Somebody else runs it, and asks it.
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
