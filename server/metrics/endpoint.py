"""The scrape endpoint: one per host, at which one process tells Prometheus of all, and of Envoy.

The processes share their metrics in files (metrics_files.py), so any of them can answer. The one that holds a lock
does; when it ends, however it ends, another one gets the lock and takes over.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from server.adapters.gateway_statistics import GatewayStatistics
from server.kernel.loops import Loop
from server.kernel.record.metrics import EVENT_LAG_NAME, LOOP_SUCCESS_NAME
from server.metrics import files as metrics_files
from server.settings import Settings

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

log = logging.getLogger("plinth.metrics")
# How often the others look whether it is their turn.
TURN = 2.0
# What goes round for each reader of a log, as server/pulses.py calls it.
READERS = {"live": "live events", "webhooks": "dispatch", "audit": "jobs"}
# Seconds between two rounds of a reader that need no mention.
USUAL_ROUND = 8.0


class HostMetrics(Collector):
    """What all processes of this host have measured; of gauges, what the living did."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Every metric. Nobody joins or leaves meanwhile."""
        with metrics_files.exclusive(self._folder):
            metrics_files.sweep(self._folder)
            return with_silence(list(self._files.collect()), time())  # type: ignore[no-untyped-call]


def with_silence(found: list[Metric], now: float) -> list[Metric]:
    """Add to the lag of each reader how long it has been silent: who waits in vain tells of no lag.

    Of several processes that read the same, the one that was heard of last counts. `now` is a Unix time.
    """
    by_name = {metric.name: metric for metric in found}
    rounds: dict[str, float] = {}
    for sample in by_name[LOOP_SUCCESS_NAME].samples if LOOP_SUCCESS_NAME in by_name else ():
        loop = sample.labels["loop"]
        rounds[loop] = max(rounds.get(loop, 0.0), sample.value)
    lag = by_name.get(EVENT_LAG_NAME)
    if lag is not None:
        lag.samples = [
            sample._replace(
                value=sample.value + _silence(rounds.get(READERS.get(sample.labels["reader"], ""), 0.0), now)
            )
            for sample in lag.samples
        ]
    return found


def _silence(last_round: float, now: float) -> float:
    """Seconds that a reader has been silent beyond the time a round may take; 0 where nothing is known of it."""
    silence = now - last_round
    return silence if last_round and silence > USUAL_ROUND else 0.0


def begin(settings: Settings, name: str, *, first: bool = False) -> "Endpoint":
    """Begin to measure as a process of this name, and to answer Prometheus when it is this process' turn."""
    endpoint = Endpoint(settings, metrics_files.join(name), first=first)
    endpoint.start()
    return endpoint


class Endpoint:
    """The endpoint of this host, from the side of one process."""

    def __init__(self, settings: Settings, process: str, *, first: bool = False) -> None:
        """`first` takes the turn at once: for a process whose interpreter has time for some milliseconds per scrape."""
        self.process = process
        """What metrics call this process."""
        self._port = settings.metrics_port
        self._host = settings.metrics_host
        self._folder = metrics_files.shared() or settings.metrics_dir
        self._registry = CollectorRegistry()
        if metrics_files.shared():
            self._registry.register(HostMetrics(self._folder))
        else:
            # Nobody shares anything: this process tells of itself.
            self._registry.register(REGISTRY)
        self._registry.register(GatewayStatistics(settings.socket("envoy-admin")))
        self._lock: int | None = None
        self._server: tuple[WSGIServer, Thread] | None = None
        self._told = False
        self._loop = Loop("metrics endpoint", self._take_turn, TURN, at_once=first, at_end=True)

    def start(self) -> None:
        """Wait for the turn, and answer from then on; nothing if the setting says so."""
        if self._port:
            self._loop.start()

    def close(self) -> None:
        """Leave it to the others. Nobody waits until that is done: a process that ends leaves it anyway."""
        self._loop.stop(0.0)

    def _take_turn(self) -> None:
        """Take the turn when it is free, and see to it that somebody answers while it is this process'."""
        if self._loop.is_stopped:
            self._leave()
            return
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = metrics_files.try_lock(self._folder / "endpoint.lock")
        if self._server is not None and not self._server[1].is_alive():
            self._end_server()
        if self._lock is not None and self._server is None:
            self._answer()

    def _answer(self) -> None:
        """Begin to answer. A port that is taken, by another stack, is tried again at the next turn."""
        try:
            self._server = start_http_server(self._port, self._host, self._registry)
        except OSError as error:
            if not self._told:
                log.warning(
                    "no metrics at %s:%d: %s; set PLINTH_METRICS_PORT to another port, or to 0 for none",
                    self._host,
                    self._port,
                    error.strerror or error,
                )
            self._told = True
        else:
            log.info("metrics at http://%s:%d/metrics", self._host, self._port)

    def _leave(self) -> None:
        self._end_server()
        if self._lock is not None:
            os.close(self._lock)

    def _end_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            if server[1].is_alive():
                server[0].shutdown()
            server[0].server_close()
