"""A TCP proxy that can fall silent: it goes on to accept connections and bytes, forwards nothing, and closes nothing.

To its callers that is what a firewall looks like that drops packets, or a host that died behind a load balancer.
"""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 64 * 1024


class SilentProxy:
    """Forwards to a unix socket. Runs inside of a `with` block."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._flows = threading.Event()
        self._flows.set()
        self._ended = threading.Event()
        self._sockets: list[socket.socket] = []

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return int(self._listener.getsockname()[1])

    def fall_silent(self) -> None:
        """Forward nothing any more, on no connection, nor on those that are still to come."""
        self._flows.clear()

    def renew(self) -> None:
        """Forward what comes on new connections. Those there were stay silent for ever."""
        self._flows = threading.Event()
        self._flows.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._ended.is_set():
                caller, _ = self._listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                self._sockets += [caller, engine]
                threading.Thread(target=self._serve, args=(caller, engine, self._flows), daemon=True).start()

    def _serve(self, caller: socket.socket, engine: socket.socket, flows: threading.Event) -> None:
        self._wait(flows)
        with suppress(OSError):
            engine.connect(self._target)
            threading.Thread(target=self._pump, args=(engine, caller, flows), daemon=True).start()
            self._pump(caller, engine, flows)

    def _pump(self, source: socket.socket, sink: socket.socket, flows: threading.Event) -> None:
        with suppress(OSError):
            while not self._ended.is_set():
                data = source.recv(CHUNK)
                self._wait(flows)
                if not data:
                    break
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _wait(self, flows: threading.Event) -> None:
        while not flows.wait(0.2) and not self._ended.is_set():
            pass
