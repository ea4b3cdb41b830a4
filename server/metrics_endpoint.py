"""The scrape endpoint: one per host, at which one process tells Prometheus of all, and of Envoy.

The processes share their metrics in files (metrics_files.py), so any of them can answer. The one that holds a lock
does; when it ends, however it ends, another one gets the lock and takes over.
"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from server import metrics_files
from server.adapters.gateway_statistics import GatewayStatistics
from server.settings import Settings

log = logging.getLogger("plinth.metrics")
# How often the others look whether it is their turn.
TURN = 2.0


class HostMetrics(Collector):
    """What all processes of this host have measured; of gauges, what the living did."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Every metric. Nobody joins or leaves meanwhile."""
        with metrics_files.exclusive(self._folder):
            metrics_files.sweep(self._folder)
            return list(self._files.collect())  # type: ignore[no-untyped-call]


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
        self._pause = 0.0 if first else TURN
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics endpoint", daemon=True)

    def start(self) -> None:
        """Wait for the turn, and answer from then on; nothing if the setting says so."""
        if self._port:
            self._thread.start()

    def close(self) -> None:
        """Leave it to the others. Nobody waits until that is done: a process that ends leaves it anyway."""
        self._stopped.set()

    def _run(self) -> None:
        if self._stopped.wait(self._pause):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = self._await_turn()
        if lock is not None:
            self._answer()
            os.close(lock)

    def _await_turn(self) -> int | None:
        """The lock, when it is had; None when the process ends before."""
        for _ in self._turns():
            lock = metrics_files.try_lock(self._folder / "endpoint.lock")
            if lock is not None:
                return lock
        return None

    def _answer(self) -> None:
        """Answer until the process ends. A port that is taken, by another stack, is tried again."""
        told = False
        for _ in self._turns():
            try:
                server, _thread = start_http_server(self._port, self._host, self._registry)
            except OSError as error:
                if not told:
                    log.warning(
                        "no metrics at %s:%d: %s; set PLINTH_METRICS_PORT to another port, or to 0 for none",
                        self._host,
                        self._port,
                        error.strerror or error,
                    )
                told = True
                continue
            log.info("metrics at http://%s:%d/metrics", self._host, self._port)
            self._stopped.wait()
            server.shutdown()
            server.server_close()
            return

    def _turns(self) -> Iterator[None]:
        """Now, and again and again until the process ends."""
        yield
        while not self._stopped.wait(TURN):
            yield
