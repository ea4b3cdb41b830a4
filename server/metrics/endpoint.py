"""The scrape endpoint: one per host, where one process exposes the metrics of all, and of Envoy.

The processes share their metrics in files (files.py), so any of them can answer. The one that holds a lock does. When
it ends, for whatever reason, another one gets the lock and takes over.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, start_http_server
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
# Seconds between two attempts of the other processes to get the lock.
TURN = 2.0
# The pulse (server/pulses.py) of each reader of a log.
READERS = {"live": "live events", "webhooks": "dispatch", "audit": "jobs"}
# Seconds between two rounds of a reader that are normal.
USUAL_ROUND = 8.0


class HostMetrics(Collector):
    """The metrics of all processes on this host; gauges only of living ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """All metrics, read while no process joins or leaves, unless a stopped process keeps the lock."""
        with metrics_files.exclusive(self._folder) as is_locked:
            if is_locked:
                metrics_files.sweep(self._folder)
            return with_silence(list(self._files.collect()), time())  # type: ignore[no-untyped-call]


def with_silence(found: list[Metric], now: float) -> list[Metric]:
    """Add to the lag of each reader the time of its silence, because a reader that hangs reports no lag.

    Of several processes with the same reader, the one with the latest round counts. `now` is a Unix time.
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
    """Seconds of silence of a reader beyond a normal round; 0 if no round is known."""
    silence = now - last_round
    return silence if last_round and silence > USUAL_ROUND else 0.0


def begin(settings: Settings, name: str, *, first: bool = False) -> "Endpoint":
    """Start to measure under this name, and to answer Prometheus whenever this process holds the lock."""
    endpoint = Endpoint(settings, metrics_files.join(name), first=first)
    endpoint.start()
    return endpoint


def registry_of(settings: Settings) -> CollectorRegistry:
    """The metrics of all processes of this host, and of Envoy; without shared files, those of this process."""
    registry = CollectorRegistry()
    folder = metrics_files.shared()
    registry.register(HostMetrics(folder) if folder else REGISTRY)
    registry.register(GatewayStatistics(settings.socket("envoy-admin")))
    return registry


def exposition(settings: Settings) -> bytes:
    """The metrics in the text format of Prometheus."""
    return generate_latest(registry_of(settings))


class Endpoint:
    """The endpoint of this host, in one process."""

    def __init__(self, settings: Settings, process: str, *, first: bool = False) -> None:
        """`first` tries to get the lock at once, for a process that can spare a few milliseconds per scrape."""
        self.process = process
        """The label of this process in metrics."""
        self._port = settings.metrics_port
        self._host = settings.metrics_host
        self._folder = metrics_files.shared() or settings.metrics_dir
        self._registry = registry_of(settings)
        self._lock: int | None = None
        self._server: tuple[WSGIServer, Thread] | None = None
        self._told = False
        self._loop = Loop("metrics endpoint", self._take_turn, TURN, at_once=first, at_end=True)

    def start(self) -> None:
        """Wait for the lock, and answer from then on. Does nothing if the setting is 0."""
        if self._port:
            self._loop.start()

    def close(self) -> None:
        """Release the endpoint to other processes. Does not wait: the end of the process releases it anyway."""
        self._loop.stop(0.0)

    def _take_turn(self) -> None:
        """Take the lock if it is free, and keep the server running while this process holds it."""
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
        """Start to answer. If the port is taken by another stack, try again at the next turn."""
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
