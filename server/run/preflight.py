"""Faults on the way from a command to its database or Redis, in one line each that names the setting to change.

A line never shows a URL, which may contain a password. It shows hosts, ports, users and databases.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from server import faults
from server.data.connections import DatabaseUnavailable
from server.data.schema import NewerSchema
from server.faults import NO_POSTGRESQL, NO_REDIS, Fault
from server.settings import Settings

Login = Literal["owner", "runtime", "dispatch", "backup"]
# Seconds until a server that does not answer counts as unreachable. libpq's minimum is 2.
CONNECT_TIMEOUT = 5
OLDEST = 15
ENCODING = "in a password, write `@`, `:`, `/`, `?`, `#` and `%` percent-encoded: `%40` for `@`"
FATAL = re.compile(r"FATAL:\s+([^\n]+)")
# Messages of a server that accepts no connections at the moment: it starts, stops, recovers, or is full.
NOT_NOW = re.compile(
    r"the database system is|terminating connection|too many (?:clients|connections)|slots are reserved"
)
ERRNO = re.compile(r"\[Errno -?\d+\] ")
# The end of libpq's message about an address that it cannot reach.
UNREACHED = re.compile(r"failed: ([^\n:]+)(?:\n|$)")
# Errors for which the setting is to blame, or the state of the database that it names.
MENDABLE = (
    psycopg.OperationalError,
    errors.InsufficientPrivilege,
    errors.UndefinedObject,
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.ReadOnlySqlTransaction,
)
# Errors of a server that is shutting down or about to.
AWAY = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.TooManyConnections)
Connection = psycopg.Connection[tuple[object, ...]]


def check_owner(settings: Settings) -> None:
    """Log in as the owner of the schema. Raises Fault if that fails, or if PostgreSQL is too old."""
    with explained(settings, "owner"), _connect(settings.owner_dsn) as connection:
        major = connection.info.server_version // 10_000
        if major < OLDEST:
            raise Fault(f"{setting_of(settings, 'owner')}: PostgreSQL {major} is too old; {OLDEST} or later is needed")


def check_login(settings: Settings, login: Login) -> None:
    """Log in. Raises Fault if that fails."""
    with explained(settings, login), _connect(_dsn(settings, login)):
        pass


def _refusal_of_redis(error: Exception) -> str:
    text = _one_line(str(error))
    # The answer to HELLO, with which clients of RESP3 begin; PING would be answered with these words.
    return "Authentication required" if text.startswith("HELLO must be called") else text


def check_redis(settings: Settings, *, must_answer: bool) -> None:
    """Log in to Redis. Raises Fault if it refuses; with `must_answer` also if it does not answer."""
    client, place = redis_of(settings)
    try:
        with client:
            client.ping()
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise Fault(f"REDIS_URL: {place} refuses: {_refusal_of_redis(error)}") from error
    except redis.RedisError as error:
        if must_answer:
            raise Fault(f"REDIS_URL: {place} cannot be reached: {_reason_of_redis(error)}", NO_REDIS) from error


def redis_of(settings: Settings) -> tuple[redis.Redis, str]:
    """A client of the Redis of these settings, which has not connected, and its address. Raises Fault for a bad URL."""
    try:
        client = redis.Redis.from_url(
            settings.redis_dsn, socket_connect_timeout=CONNECT_TIMEOUT, socket_timeout=CONNECT_TIMEOUT, retry=None
        )
        return client, _place_of_redis(settings)
    except ValueError:
        example = "redis://:password@host:6379/0"
        raise Fault(f"REDIS_URL: it is no URL of a Redis, such as {example}; {ENCODING}") from None


@contextmanager
def explained(settings: Settings, login: Login) -> Iterator[None]:
    """Turn a refusal of PostgreSQL for this login into a Fault that names the setting. Other errors pass unchanged."""
    check_url(settings, login)
    try:
        yield
    except NewerSchema as fault:
        raise Fault(f"{setting_of(settings, login)}: {fault}") from fault
    except DatabaseUnavailable as error:
        raise Fault(_unavailable(settings, login, "no connection came in time"), NO_POSTGRESQL) from error
    except Exception as error:
        # SQLAlchemy wraps the errors of Alembic.
        cause = getattr(error, "orig", error)
        if isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None:
            raise _unreachable(settings, login, str(cause)) from error
        if isinstance(cause, errors.UndefinedTable | errors.UndefinedColumn):
            raise Fault(f"{setting_of(settings, login)}: {_said(cause)}: run `plinth migrate`") from error
        if isinstance(cause, AWAY):
            raise Fault(_unavailable(settings, login, _said(cause)), NO_POSTGRESQL) from error
        if isinstance(cause, MENDABLE):
            raise Fault(f"{setting_of(settings, login)}: {_said(cause)}") from error
        raise


def setting_of(settings: Settings, login: Login) -> str:
    """The variable that configures this login: its own, the owner's, or that of the embedded PostgreSQL."""
    if _is_given(settings, login):
        return f"DATABASE_{login.upper()}_URL"
    return "PLINTH_DATA_DIR" if settings.database_url is None else "DATABASE_URL"


def _is_given(settings: Settings, login: Login) -> bool:
    """Whether the login has a URL of its own; otherwise `plinth migrate` makes it."""
    urls = {
        "runtime": settings.database_runtime_url,
        "dispatch": settings.database_dispatch_url,
        "backup": settings.database_backup_url,
    }
    return urls.get(login) is not None


def check_url(settings: Settings, login: Login) -> None:
    """Raise Fault if the URL is not read as it was meant. libpq's own message would show parts of a password."""
    # The URLs of other logins are derived from the owner's, so urlsplit must read it as libpq does.
    source = login if _is_given(settings, login) else "owner"
    dsn = _dsn(settings, source)
    try:
        parts, rest = conninfo_to_dict(dsn), _after_host(dsn)
    except (psycopg.ProgrammingError, ValueError):
        parts, rest = {}, ""
    places = [str(parts.get(name, "")) for name in ("host", "port", "dbname")]
    is_url = dsn.startswith(("postgresql://", "postgres://")) or source != "owner"
    if not parts or not is_url or not _are_ports(places[1]) or "@" in "".join([*places, rest]):
        example = "postgresql://user:password@host:5432/database"
        raise Fault(f"{setting_of(settings, login)}: it is no URL of a PostgreSQL, such as {example}; {ENCODING}")


def _after_host(url: str) -> str:
    """The part after host and port. An `@` in it belongs to a password that is not encoded. Raises ValueError."""
    parts = urlsplit(url)
    return f"{parts.path}{parts.query}{parts.fragment}"


def _connect(dsn: str) -> Connection:
    return psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT, application_name="plinth preflight")


def _dsn(settings: Settings, login: Login) -> str:
    if login == "owner":
        return settings.owner_dsn
    if login == "backup":
        return settings.backup_dsn
    return settings.runtime_dsn if login == "runtime" else settings.dispatch_dsn


def _are_ports(text: str) -> bool:
    return all(part == "" or part.isdecimal() for part in text.split(","))


def _said(error: psycopg.Error) -> str:
    """The message of the server, with its detail, in one line."""
    return ": ".join(
        _one_line(part) for part in (error.diag.message_primary or str(error), error.diag.message_detail or "") if part
    )


def _unreachable(settings: Settings, login: Login, text: str) -> Fault:
    """The Fault for a failed attempt to connect. `text` is libpq's, with a line per address that was tried."""
    name = setting_of(settings, login)
    refused = FATAL.findall(text)
    if refused:
        status = NO_POSTGRESQL if NOT_NOW.search(refused[-1]) else faults.MENDABLE
        return Fault(f"{name}: {_one_line(refused[-1])}{_hint(settings, login, refused[-1])}", status)
    if "timeout" in text:
        reason = f"no answer within {CONNECT_TIMEOUT} s"
    else:
        reasons = UNREACHED.findall(text)
        reason = _one_line(reasons[-1] if reasons else text.rpartition(": ")[2])
    return Fault(_unavailable(settings, login, reason), NO_POSTGRESQL)


def _unavailable(settings: Settings, login: Login, reason: str) -> str:
    if setting_of(settings, login) == "PLINTH_DATA_DIR":
        return (
            f"the embedded PostgreSQL of {settings.data_dir.resolve()} does not run ({reason}): "
            "start the stack with `make up`, or set DATABASE_URL"
        )
    parts = conninfo_to_dict(_dsn(settings, login))
    place = f"{parts.get('host') or 'this machine'}:{parts.get('port') or 5432}"
    return f"{setting_of(settings, login)}: {place} cannot be reached: {reason}"


def _hint(settings: Settings, login: Login, refusal: str) -> str:
    """The remedy if a login that `plinth migrate` makes is not as this process expects it."""
    if login in {"owner", "backup"} or _is_given(settings, login):
        return ""
    if "password" in refusal:
        return ", whose password follows from PLINTH_SECRET_KEY: run `plinth migrate` with the secret that is used now"
    return ": run `plinth migrate`, which makes this login" if "role" in refusal else ""


def _place_of_redis(settings: Settings) -> str:
    """Host and port, or the socket. Raises ValueError for a URL that cannot be read."""
    url = urlsplit(settings.redis_dsn)
    if "@" in _after_host(settings.redis_dsn):
        raise ValueError("the password ends the host's part of the URL")
    return url.path if url.scheme == "unix" else f"{url.hostname or 'localhost'}:{url.port or 6379}"


def _reason_of_redis(error: redis.RedisError) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(error, redis.TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT} s"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return _one_line(str(error))


def _one_line(text: str) -> str:
    return " ".join(ERRNO.sub("", text).split()).rstrip(".")
