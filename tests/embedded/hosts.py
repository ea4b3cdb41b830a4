"""Machines of one deployment: each an api process with settings of its own, on a PostgreSQL and a Redis they share."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import psycopg
from plinth.identity.v1 import api_key_pb2_grpc, auth_pb2, auth_pb2_grpc
from plinth.sites.v1 import page_pb2, page_pb2_grpc
from plinth.webhooks.v1 import webhook_pb2_grpc

from server.settings import Settings
from tests.stack import LITTLE, RECEIVERS, UNLIMITED, free_of_settings

PATIENCE = 120
TIMEOUT = 30.0


class Host:
    """One machine. Its state of a rotation is what its secrets are: `secret_key`, `_previous`, `_next`."""

    def __init__(self, folder: Path, **shared: str) -> None:
        """`shared` are variables of the environment."""
        self.folder = folder
        self.shared = shared
        self._secrets: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._channel: grpc.Channel | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What its commands run with."""
        own = {
            "PLINTH_DATA_DIR": str(self.folder),
            "PLINTH_METRICS_PORT": "0",
            "PLINTH_PASSWORD_MEMORY": str(LITTLE),
            "PLINTH_RATE_LIMITS": json.dumps(UNLIMITED),
            "PLINTH_REDIS_TIMEOUT": "5",
            "PLINTH_DRAIN_NOTICE": "0",
        }
        receivers = {f"PLINTH_{name.upper()}": str(value) for name, value in RECEIVERS.items()}
        return free_of_settings(dict(os.environ)) | own | receivers | self.shared | self._secrets

    def command(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of `plinth` to its end, with these variables besides."""
        return subprocess.run(
            [sys.executable, "-m", "server", *arguments],
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def enter(self, **secrets: str) -> None:
        """Follow the recipe: set the secrets, migrate, start anew."""
        self.stop()
        self._secrets = {f"PLINTH_{name.upper()}": value for name, value in secrets.items()}
        done = self.command("migrate")
        assert done.returncode == 0, done.stdout + done.stderr
        self._process = self._start("serve", "--workers", "1")
        self._channel = grpc.insecure_channel(f"unix:{self._socket}")
        grpc.channel_ready_future(self._channel).result(PATIENCE)

    def stop(self) -> None:
        """End its api process, if it runs."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
        self._channel = self._process = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Have a background worker meanwhile."""
        process = self._start("worker")
        try:
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "server", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    @property
    def target(self) -> str:
        """Where its api process listens."""
        return f"unix:{self._socket}"

    @property
    def _socket(self) -> Path:
        return Settings(data_dir=self.folder).socket("api-0")

    # What is called on it.

    @property
    def auth(self) -> Any:
        """Its stub of AuthService."""
        return cast("Any", auth_pb2_grpc.AuthServiceStub)(self._channel)

    @property
    def pages(self) -> Any:
        """Its stub of PageService."""
        return cast("Any", page_pb2_grpc.PageServiceStub)(self._channel)

    @property
    def api_keys(self) -> Any:
        """Its stub of ApiKeyService."""
        return cast("Any", api_key_pb2_grpc.ApiKeyServiceStub)(self._channel)

    @property
    def webhooks(self) -> Any:
        """Its stub of WebhookService."""
        return cast("Any", webhook_pb2_grpc.WebhookServiceStub)(self._channel)

    def log_in(self, login: dict[str, str]) -> Any:
        """A new session."""
        request = auth_pb2.LogInRequest(email=login["email"], password=login["password"])
        return self.auth.LogIn(request, timeout=TIMEOUT)

    def list(self, tenant: str, credential: str, page_token: str = "") -> Any:
        """Two pages of the tenant."""
        request = page_pb2.ListPagesRequest(tenant_id=tenant, page_size=2, page_token=page_token)
        return self.pages.ListPages(request, metadata=bearer(credential), timeout=TIMEOUT)

    def create(self, tenant: str, credential: str, slug: str, key: str) -> str:
        """The id of a page that is made once for a key."""
        request = page_pb2.CreatePageRequest(tenant_id=tenant, page=page_pb2.Page(slug=slug, title=slug))
        metadata = [*bearer(credential), ("idempotency-key", key)]
        return str(self.pages.CreatePage(request, metadata=metadata, timeout=TIMEOUT).id)


def bearer(credential: str) -> list[tuple[str, str]]:
    """The metadata that carries a credential."""
    return [("authorization", f"Bearer {credential}")]


def cut_connections(administrator: str, database: str) -> None:
    """End every connection of a database, so that all who use it log in anew."""
    with psycopg.connect(administrator, autocommit=True) as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        connection.execute(query, (database,))
