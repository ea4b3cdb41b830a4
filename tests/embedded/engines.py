"""A PostgreSQL and a Redis of a test's own that ask for passwords, on ports of the loopback interface."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from server.embedded import launch, postgres
from server.embedded.engines import POSTGRES, REDIS, find
from server.embedded.privileges import engine_identity, own
from tests.stack import free_port, wait_for

OWNER = "keeper"
PASSWORD = "opensesame"


class Cluster:
    """A PostgreSQL server: its superuser comes over the socket without a password, everybody else by TCP with one."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port

    def administer(self, statement: str, *names: str, database: str = "postgres") -> None:
        """One statement of the superuser; `{}` stands for identifiers."""
        with psycopg.connect(self.administrator(database), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def administrator(self, database: str = "postgres") -> str:
        """The superuser's way in."""
        return f"host={self._folder} port={self._port} user={postgres.ADMINISTRATOR} dbname={database}"

    def url(self, database: str, user: str = OWNER, password: str = PASSWORD) -> str:
        """A way in over TCP."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self._port}/{database}"

    def add_database(self, name: str, owner: str = OWNER) -> str:
        """A fresh database; its owner's way in."""
        self.administer("CREATE DATABASE {} OWNER {} STRATEGY file_copy", name, owner)
        return self.url(name, owner)

    def add_role(self, name: str, options: str = "") -> None:
        """A login with the common password."""
        self.administer(f"CREATE ROLE {{}} LOGIN {options} PASSWORD '{PASSWORD}'", name)


@contextmanager
def postgresql(folder: Path, port: int | None = None) -> Iterator[Cluster]:
    """A PostgreSQL that has the role OWNER, which may create roles. Data that is there already is served again."""
    data, port = folder / "postgres", port or free_port()
    programs = find(POSTGRES).parent
    identity = engine_identity(data, folder, programs)
    for made in (data, folder / "socket"):
        own(made, identity)
    who = identity.argument if identity else "-"
    options = ["--username", postgres.ADMINISTRATOR, "--auth-local", "trust", "--auth-host", "scram-sha-256"]
    initdb = [str(programs / "initdb"), "--pgdata", str(data), "--no-sync", *options]
    is_new = not (data / "PG_VERSION").exists()
    if is_new:
        subprocess.run(_tied(who, data, initdb), check=True, capture_output=True, timeout=50)
    place = ["-c", f"unix_socket_directories={folder / 'socket'}", "-c", "listen_addresses=127.0.0.1", "-p", str(port)]
    command = [str(programs / "postgres"), "-D", str(data), "-c", "fsync=off", *place]
    with _running(_tied(who, data, command), signal.SIGINT):
        cluster = Cluster(folder / "socket", port)
        wait_for(lambda: _answers(cluster), 30, "PostgreSQL")
        if is_new:
            cluster.add_role(OWNER, "CREATEROLE")
        yield cluster


@contextmanager
def password_redis(folder: Path) -> Iterator[int]:
    """A Redis that asks for PASSWORD; its port."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", "", "--databases", "2"]
    command = [str(find(REDIS)), *options]
    with _running(_tied("-", folder, command), signal.SIGTERM), redis.Redis(port=port, password=PASSWORD) as client:
        wait_for(lambda: _pings(client), 30, "Redis")
        yield port


@contextmanager
def _running(command: list[str], ending: signal.Signals) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(ending)
        process.wait(30)


def _tied(who: str, folder: Path, command: list[str]) -> list[str]:
    """The command, run as somebody, which ends when this process does."""
    tie = [str(launch.__file__), str(os.getpid()), str(int(signal.SIGKILL)), who, str(folder)]
    return [sys.executable, "-I", "-S", *tie, *command]


def _answers(cluster: Cluster) -> bool:
    with suppress(psycopg.OperationalError):
        cluster.administer("SELECT 1")
        return True
    return False


def _pings(client: "redis.Redis") -> bool:
    with suppress(redis.ConnectionError):
        return bool(client.ping())
    return False
