"""The baselines as running processes."""

import os
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import jwt

from tests.bench.clocks import SERVER_CORE, pin

READY_WITHIN = 20.0
TOKEN_LIFETIME = 6 * 3600


@dataclass(frozen=True, slots=True)
class HelloServer:
    """The bare gRPC server."""

    pid: int
    socket: Path


@dataclass(frozen=True, slots=True)
class DirectServer:
    """The gRPC server that is written by hand, and a token it accepts."""

    pid: int
    socket: Path
    token: str


@dataclass(frozen=True, slots=True)
class FastApiServer:
    """One of the FastAPI applications, and a token it accepts."""

    pid: int
    port: int
    token: str


@contextmanager
def hello(folder: Path, page: bytes) -> Iterator[HelloServer]:
    """Run the bare gRPC server, which answers this page."""
    socket, file = folder / "hello.sock", folder / "page.bin"
    file.write_bytes(page)
    with running(["tests.bench.baselines.hello_grpc", str(socket), str(file)]) as process:
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            grpc.channel_ready_future(channel).result(READY_WITHIN)
        pin(process.pid, SERVER_CORE)
        yield HelloServer(process.pid, socket)


@contextmanager
def direct(folder: Path, database_url: str, claims: Mapping[str, str]) -> Iterator[DirectServer]:
    """Run the gRPC server that is written by hand. `claims` are those of the caller."""
    socket, secret = folder / "direct.sock", secrets.token_hex(32)
    environ = {"BENCH_DATABASE_URL": database_url, "BENCH_JWT_SECRET": secret}
    with running(["tests.bench.baselines.direct_grpc", str(socket)], environ) as process:
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            grpc.channel_ready_future(channel).result(READY_WITHIN)
        pin(process.pid, SERVER_CORE)
        token = jwt.encode({**claims, "exp": int(time.time()) + TOKEN_LIFETIME}, secret, algorithm="HS256")
        yield DirectServer(process.pid, socket, token)


@contextmanager
def fastapi(application: str, database_url: str, redis_url: str, tenant_id: str) -> Iterator[FastApiServer]:
    """Run a FastAPI application with one uvicorn worker."""
    secret = secrets.token_hex(32)
    claims = {"sub": str(uuid.uuid4()), "tenant": tenant_id, "exp": int(time.time()) + TOKEN_LIFETIME}
    environ = {"BENCH_DATABASE_URL": database_url, "BENCH_REDIS_URL": redis_url, "BENCH_JWT_SECRET": secret}
    with (
        TemporaryDirectory(prefix="plinth-bench-files-") as folder,
        running(["tests.bench.baselines.serve", application], environ | {"BENCH_FOLDER": folder}) as process,
    ):
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"{application} did not start")
        pin(process.pid, SERVER_CORE)
        yield FastApiServer(process.pid, int(port), jwt.encode(claims, secret, algorithm="HS256"))


@contextmanager
def running(module: Sequence[str], environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a module of Python with these arguments, and end it afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", *module], env={**os.environ, **(environ or {})}, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
