"""Settings: one frozen class, read from the environment and from `.env`.

Every field is documented by its description; the table in docs/settings.md is generated from them
(`plinth settings --markdown`). Durations are seconds unless the name says otherwise.
"""

import hashlib
import json
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.secrets import Secrets
from server.setting_values import (
    COMMAS,
    JSON_OBJECT,
    UNLESS_EMPTY,
    Collector,
    DatabaseUrl,
    Domain,
    HeaderName,
    Network,
    Origin,
    ProviderUrl,
    Rate,
    RedisUrl,
    Secret,
    any_case,
)

ENV_FILE = ".env"
PREFIX = "PLINTH_"
# A unix socket's path is at most 107 bytes; PostgreSQL's own name takes `/.s.PGSQL.5432`.
LONGEST_SOCKET_DIR = 85
# OWASP Password Storage Cheat Sheet: 19 MiB with 2 passes. More memory would let few sign-ins starve the rest.
LEAST_PASSWORD_MEMORY = 19 * 1024
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Contradictions(ValueError):
    """Settings that contradict each other. Each of `faults` is a line that begins with the variable."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class DomainSettings(BaseSettings):
    """Settings of one domain, in its `settings.py`. Their names begin with that of the domain."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        # Editors on some systems begin files with a byte order mark.
        env_file_encoding="utf-8-sig",
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
        # Some are secrets.
        hide_input_in_errors=True,
    )


Own = TypeVar("Own", bound=DomainSettings)


class Settings(DomainSettings):
    """The settings of this deployment.

    Environment variables are the field names in capitals with the prefix PLINTH_.
    """

    # Data, and addresses.
    data_dir: Path = Field(
        Path(".plinth"), description="Folder of the embedded engines' data, sockets, secret and logs."
    )
    host: str = Field("127.0.0.1", description="Address the gateway listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port of the gateway: gRPC, gRPC-Web, REST and SSE.")
    public_url: Annotated[ProviderUrl | None, UNLESS_EMPTY] = Field(
        None,
        description="Where people and mail programs reach the gateway, such as `https://api.example.com`: links in "
        "mail to the API begin with it. Pages at other host names are those of tenants' sites then, which may have "
        "domains of their own. Unset: HOST and PORT, and sites are below SITES_DOMAIN alone.",
    )
    environment: Annotated[
        Literal["development", "staging", "production"], any_case("development", "staging", "production")
    ] = Field(
        "development",
        description="`development`, `staging` or `production`. Development allows more sign-ins, and calls by pages of "
        "this machine; `production` refuses what only suits a desk.",
    )

    # Processes.
    api_workers: int = Field(2, ge=1, le=64, description="Api worker processes; one per core is right.")
    api_threads: int = Field(8, ge=1, le=64, description="Threads of an api worker. More than 16 lose throughput.")
    realtime_workers: int = Field(1, ge=1, le=64, description="Realtime processes, which serve the live streams.")
    background_workers: int = Field(1, ge=1, le=64, description="Background worker processes.")
    agents: bool = Field(
        default=True,
        description="Whether AI agents may call tools at `/mcp`, in a process of its own (docs/guides/agents.md).",
    )
    job_slots: int = Field(8, ge=1, le=200, description="Jobs that a background worker does at once.")
    job_patience: float = Field(
        60.0, gt=0, description="How long a job may be due before its queue counts as unattended: health is DEGRADED."
    )
    drain_notice: float = Field(1.5, ge=0, description="How long a process that ends is not serving before it stops.")
    drain_timeout: float = Field(10.0, ge=0, description="How long a process that ends lets running calls finish.")

    slow_threads: int = Field(
        16, ge=1, le=256, description="Threads, and connections, for RPCs that wait on others or compute for long."
    )
    queue_bound: int = Field(
        250,
        ge=1,
        description="Calls that may wait for a thread before lists and reports are refused; twice as many before most "
        "calls are, four times as many before signing in is.",
    )

    # PostgreSQL.
    database_url: Annotated[DatabaseUrl | None, UNLESS_EMPTY] = Field(
        None,
        validation_alias=AliasChoices("DATABASE_URL", "PLINTH_DATABASE_URL"),
        description="PostgreSQL 15 or later, as the role that owns the schema. Unset: the embedded PostgreSQL.",
    )
    database_runtime_url: Annotated[DatabaseUrl | None, UNLESS_EMPTY] = Field(
        None,
        validation_alias=AliasChoices("DATABASE_RUNTIME_URL", "PLINTH_DATABASE_RUNTIME_URL"),
        description="The same database as the role that serves requests: neither owner nor superuser, no BYPASSRLS. "
        "Unset: `<database>_runtime`, which `plinth migrate` makes.",
    )
    database_dispatch_url: Annotated[DatabaseUrl | None, UNLESS_EMPTY] = Field(
        None,
        validation_alias=AliasChoices("DATABASE_DISPATCH_URL", "PLINTH_DATABASE_DISPATCH_URL"),
        description="The same database as the role that reads the event log of every tenant. "
        "Unset: `<database>_dispatch`, which `plinth migrate` makes.",
    )
    database_backup_url: Annotated[DatabaseUrl | None, UNLESS_EMPTY] = Field(
        None,
        validation_alias=AliasChoices("DATABASE_BACKUP_URL", "PLINTH_DATABASE_BACKUP_URL"),
        description="The same database as the role that `plinth backup` reads every row with: BYPASSRLS and "
        "pg_read_all_data. Unset: the role of `DATABASE_URL`.",
    )
    postgres_bin: Path | None = Field(
        None,
        description="Folder of the programs of the embedded PostgreSQL, 15 or later, such as "
        "`/usr/lib/postgresql/17/bin`. Unset: the wheel's, else those of the system.",
    )
    database_pool_size: int = Field(
        10, ge=1, le=200, description="Connections of one api worker; at least its threads."
    )
    database_connect_timeout: float = Field(3.0, gt=0, description="How long a call waits for a connection.")
    statement_timeout: float = Field(15.0, gt=0, description="How long one SQL statement may run.")

    # Redis.
    redis_url: Annotated[RedisUrl | None, UNLESS_EMPTY] = Field(
        None,
        validation_alias=AliasChoices("REDIS_URL", "PLINTH_REDIS_URL"),
        description="Redis 6.2 or later. Unset: the embedded Redis.",
    )
    redis_server: Path | None = Field(
        None,
        description="Program of the embedded Redis, `redis-server` or `valkey-server` 6.2 or later. Unset: the "
        "wheel's, else the system's.",
    )
    redis_timeout: float = Field(0.5, gt=0, description="How long a Redis command may take.")

    # Rate limits.
    rate_limits_enabled: bool = Field(default=True, description="Whether calls are counted at all.")
    rate_limits: Annotated[dict[str, Rate], NoDecode, JSON_OBJECT] = Field(
        {},
        description='Rate classes whose limit differs from the default, as JSON: `{"auth": "5/900"}` lets 5 calls '
        "through in 900 seconds. By default `auth` is that, and `100/900` in development.",
    )
    rate_limits_strict: Annotated[tuple[str, ...], NoDecode, COMMAS] = Field(
        ("auth", "payment"),
        description="Rate classes, comma separated, that refuse calls while Redis is away; others let them through.",
    )

    # Cache.
    cache_enabled: bool = Field(default=True, description="Whether answers are cached.")
    cache_bytes: int = Field(
        32 * 1024 * 1024, ge=1024 * 1024, description="Memory of one api worker for cached answers."
    )
    cache_longest: float = Field(3600.0, gt=0, description="Ceiling of how long an answer is cached.")

    # Secrets and tokens.
    secret_key: Annotated[Secret | None, UNLESS_EMPTY] = Field(
        None,
        description="At least 32 characters, from which all keys are derived. Unset: made once and kept in the data "
        "folder; `production` demands it.",
    )
    secret_key_previous: Annotated[Secret | None, UNLESS_EMPTY] = Field(
        None,
        description="The secret key before a rotation: what it signed stays valid until it expires.",
    )
    secret_key_next: Annotated[Secret | None, UNLESS_EMPTY] = Field(
        None,
        description="The secret key after a rotation, accepted ahead: valid here, and published, before it signs here.",
    )
    backup_passphrase: Annotated[SecretStr | None, UNLESS_EMPTY] = Field(
        None,
        description="At least 12 characters, which `plinth backup` encrypts the secret key with and `plinth restore` "
        "opens it with. Unset: a file is named, or a person is asked.",
    )
    token_issuer: str = Field("plinth", description="`iss` of access tokens.")
    access_token_lifetime: int = Field(900, ge=30, description="Lifetime of an access token.")
    refresh_token_lifetime: int = Field(30 * 86400, ge=60, description="Lifetime of a refresh token that is not used.")
    step_up_lifetime: int = Field(
        3600,
        ge=30,
        description="Seconds for which a sign-in counts as recent, for RPCs that a stolen access token must not call "
        "(`step_up` in the policy).",
    )
    password_memory: int = Field(
        LEAST_PASSWORD_MEMORY,
        ge=8,
        description="KiB that hashing a password takes (Argon2id); `production` demands at least the default. A hash "
        "made with another setting is replaced at the next sign-in.",
    )
    default_tenant: Annotated[str | None, UNLESS_EMPTY] = Field(
        None, description="Subdomain of the tenant that sign-ups join when they name none."
    )
    sites_domain: Domain = Field("localhost", description="Domain under which tenants' subdomains are reached.")

    # Gateway.
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, COMMAS] = Field(
        (),
        description="Origins whose pages may call, comma separated, such as `https://app.example`. In development, "
        "pages of `http://localhost` and `http://127.0.0.1` may too, at any port.",
    )
    cors_headers: Annotated[tuple[HeaderName, ...], NoDecode, COMMAS] = Field(
        ("traceparent", "tracestate", "baggage", "sentry-trace"),
        description="Headers that these pages may send beside those that Plinth reads, comma separated.",
    )
    cors_max_age: int = Field(7200, ge=0, description="How long browsers may keep a preflight's answer.")
    tls_certificate: Annotated[Path | None, UNLESS_EMPTY] = Field(
        None, description="PEM certificate chain. With tls_key, the gateway speaks TLS."
    )
    tls_key: Annotated[Path | None, UNLESS_EMPTY] = Field(None, description="PEM private key of tls_certificate.")
    gateway_timeout: float = Field(15.0, gt=0, description="How long the gateway waits for a unary answer.")
    envoy: Path | None = Field(
        None,
        description="Program of the gateway, `envoy` 1.40. Unset: the wheel's, else the system's.",
    )
    gateway_threads: int = Field(1, ge=1, le=64, description="Envoy's worker threads.")
    trusted_proxies: int = Field(
        0, ge=0, le=8, description="Proxies in front of the gateway whose X-Forwarded-For counts."
    )
    max_request_bytes: int = Field(4 * 1024 * 1024, ge=1024, description="Largest request body.")
    max_header_kilobytes: int = Field(48, ge=8, le=96, description="Largest sum of request headers.")

    # Data.
    deleted_retention_days: int = Field(30, ge=1, description="How long deleted resources can be brought back.")
    events_retention_days: int = Field(
        90, ge=7, description="How long events are kept. They go by whole months, so up to a month longer."
    )
    audit_retention_days: int = Field(730, ge=7, description="How long audit entries are kept, likewise.")

    # Logs.
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], any_case("DEBUG", "INFO", "WARNING", "ERROR")
    ] = Field("INFO", description="Lowest level that is logged: `DEBUG`, `INFO`, `WARNING` or `ERROR`.")
    log_max_bytes: int = Field(
        20 * 1024 * 1024, ge=1024, description="Size at which a log file of `plinth up` is rotated."
    )
    log_backups: int = Field(5, ge=1, le=100, description="How many rotated log files are kept.")

    # Metrics.
    metrics_port: int = Field(
        9464, ge=0, le=65535, description="Port at which one of a host's processes tells Prometheus of all; 0 for none."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of that port.")

    # Traces.
    otlp_endpoint: Annotated[Collector | None, UNLESS_EMPTY] = Field(
        None,
        # The last alias is for code that constructs the settings: pydantic accepts aliases only.
        validation_alias=AliasChoices("PLINTH_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"),
        description="Collector that traces go to, over OTLP/gRPC, such as `http://127.0.0.1:4317`; also taken from "
        "`OTEL_EXPORTER_OTLP_ENDPOINT`. Unset: no traces, and no cost.",
    )
    trace_sample_rate: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of calls that are traced, whatever the caller's `traceparent` asks for. Each takes some "
        "0.2 ms of CPU.",
    )

    # Webhooks.
    webhook_allow_http: bool = Field(default=False, description="Whether webhooks may lead to `http://`, unencrypted.")
    webhook_allowed_networks: Annotated[tuple[Network, ...], NoDecode, COMMAS] = Field(
        (),
        description="Private networks that webhooks may lead into, comma separated, such as `10.1.0.0/16`. All others "
        "are refused.",
    )
    webhook_concurrency: int = Field(
        200,
        ge=1,
        le=2000,
        description="Messages that a background worker sends at once; of these a tenth to one webhook, and next to "
        "none to one that fails.",
    )

    # Live streams.
    stream_keepalive: float = Field(
        15.0, gt=0, description="Seconds between the comments that keep an idle stream open."
    )
    stream_stall: float = Field(
        10.0,
        gt=0,
        description="Seconds without an answer about new events after which live streams are ended with UNAVAILABLE.",
    )
    stream_queue: int = Field(500, ge=10, description="Events that may wait for a slow subscriber before it is cut.")
    streams_per_caller: int = Field(
        100,
        ge=1,
        description="Live streams that a user or an API key may have open at once, in each realtime process.",
    )
    streams_per_tenant: int = Field(
        2000,
        ge=1,
        description="Live streams that may be open in a tenant at once, in each realtime process.",
    )

    @model_validator(mode="after")
    def _cross_check(self) -> Self:
        faults = []
        if (self.tls_certificate is None) != (self.tls_key is None):
            there, missing = ("KEY", "CERTIFICATE") if self.tls_certificate is None else ("CERTIFICATE", "KEY")
            faults.append(f"PLINTH_TLS_{missing}: unset; PLINTH_TLS_{there} is set, and needs it")
        if self.environment == "production" and self.secret_key is None:
            faults.append("PLINTH_SECRET_KEY: unset; production demands one, of at least 32 characters")
        if self.environment == "production" and self.password_memory < LEAST_PASSWORD_MEMORY:
            faults.append(
                f"PLINTH_PASSWORD_MEMORY: `{self.password_memory}` is refused; production allows at least "
                f"{LEAST_PASSWORD_MEMORY}"
            )
        if self.database_pool_size < self.api_threads:
            faults.append(
                f"PLINTH_DATABASE_POOL_SIZE: `{self.database_pool_size}` is refused; allowed is at least "
                f"PLINTH_API_THREADS, which is {self.api_threads}"
            )
        if str(self.otlp_endpoint).startswith("https:") and self.trusted_certificates is None:
            faults.append(
                f"PLINTH_OTLP_ENDPOINT: `{self.otlp_endpoint}` is refused; https needs a file of trusted certificates, "
                "and this system has none: name one in SSL_CERT_FILE"
            )
        if faults:
            raise Contradictions(faults)
        return self

    def own(self, kind: type[Own]) -> Own:
        """The settings of a domain. A command loads them together with these (settings_loading.py)."""
        return self if isinstance(self, kind) else kind()

    def api_address(self, host: str = "") -> str:
        """Where the gateway is, for links to the API itself. `host` is another name of the host it listens on."""
        if self.public_url and not host:
            return self.public_url.rstrip("/")
        scheme = "http" if self.tls_certificate is None else "https"
        return f"{scheme}://{host or self.host}:{self.port}"

    @property
    def own_host(self) -> str:
        """The host name of the gateway itself, where no tenant's site is."""
        return (urlsplit(self.api_address()).hostname or self.host).lower()

    @property
    def listens_on_loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        return self.host in LOOPBACK

    @property
    def trusted_certificates(self) -> str | None:
        """The PEM file of CAs that this system trusts. `SSL_CERT_FILE` names another one."""
        return ssl.get_default_verify_paths().cafile

    @cached_property
    def socket_dir(self) -> Path:
        """The folder of unix sockets: in the data folder, or in a short temporary path if that one is too long."""
        folder = self.data_dir.resolve() / "run"
        if len(str(folder).encode()) <= LONGEST_SOCKET_DIR:
            return folder
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"plinth-{name}"

    @property
    def metrics_dir(self) -> Path:
        """The folder in which the processes of this host share their metrics."""
        return self.socket_dir / "metrics"

    @cached_property
    def secret(self) -> bytes:
        """The secret from which all keys are derived. If none is set, one is generated and kept in the data folder."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value().encode()
        path = self.data_dir / "secret"
        if not path.exists():
            self.data_dir.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{secrets.token_hex(4)}")
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(48))
            try:
                # Unlike a rename, a link never replaces a file that another process created first.
                path.hardlink_to(draft)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_text().strip().encode()

    @cached_property
    def secrets(self) -> Secrets:
        """The current secret, and those of a rotation.

        The secret in the data folder stays accepted after PLINTH_SECRET_KEY is set, until its file is removed.
        """
        kept = self.data_dir / "secret"
        given = [key.get_secret_value().encode() for key in (self.secret_key_previous,) if key is not None]
        if self.secret_key is not None and kept.exists():
            given.append(kept.read_text().strip().encode())
        ahead = (self.secret_key_next.get_secret_value().encode(),) if self.secret_key_next is not None else ()
        return Secrets(self.secret, tuple(given), ahead)

    @property
    def owner_dsn(self) -> str:
        """The connection string of the owner of the schema."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"postgresql://plinth@/plinth?host={quote(str(self.socket_dir), safe='')}"

    @property
    def runtime_dsn(self) -> str:
        """The connection string of the role that serves requests."""
        if self.database_runtime_url is not None:
            return self.database_runtime_url.get_secret_value()
        return self._as_role("runtime")

    @property
    def dispatch_dsn(self) -> str:
        """The connection string of the role that reads the event log of all tenants."""
        if self.database_dispatch_url is not None:
            return self.database_dispatch_url.get_secret_value()
        return self._as_role("dispatch")

    @property
    def backup_dsn(self) -> str:
        """The connection string of the role that sees every row: the superuser of the embedded PostgreSQL."""
        given = self.database_backup_url or self.database_url
        if given is not None:
            return given.get_secret_value()
        return f"postgresql://postgres@/plinth?host={quote(str(self.socket_dir), safe='')}"

    @property
    def redis_dsn(self) -> str:
        """The connection string of Redis; of the embedded one over its socket."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        return f"unix://{quote(str(self.socket('redis')))}"

    def socket(self, name: str) -> Path:
        """The unix socket of a process: `api-0`, `realtime-0`, `redis`, `envoy-admin`."""
        return self.socket_dir / f"{name}.sock"

    def role_name(self, purpose: str) -> str:
        """The name of the role that `plinth migrate` creates for a purpose, `runtime` or `dispatch`.

        Roles belong to the whole PostgreSQL server, so the name includes that of the database.
        """
        return f"{urlsplit(self.owner_dsn).path.lstrip('/') or 'plinth'}_{purpose}"

    def login_name(self, purpose: str, secret: bytes | None = None) -> str:
        """The login, a member of that role, of machines that sign with a secret; by default with the current one.

        Each secret has a login of its own, so that machines in different states of a rotation do not lock each other
        out.
        """
        return f"{self.role_name(purpose)}_{_keyed(secret or self.secret, f'database login {purpose}', 4)}"

    def role_password(self, purpose: str, secret: bytes | None = None) -> str:
        """The password of that login, derived from the secret so that every machine of a deployment knows it."""
        return _keyed(secret or self.secret, f"database role {purpose}", 24)

    def _as_role(self, purpose: str) -> str:
        url = urlsplit(self.owner_dsn)
        place = url.netloc.rpartition("@")[2]
        netloc = f"{quote(self.login_name(purpose), safe='')}:{self.role_password(purpose)}@{place}"
        return urlunsplit(url._replace(netloc=netloc))


def _keyed(secret: bytes, purpose: str, size: int) -> str:
    return hashlib.blake2b(purpose.encode(), key=secret[:64], digest_size=size).hexdigest()


def variables(name: str, field: FieldInfo) -> tuple[str, ...]:
    """The environment variables of a setting. The first one that is set counts."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices if str(choice).isupper())
    return (f"{PREFIX}{name.upper()}",)


def shown(value: object) -> str:
    """A value as in the environment; a secret as asterisks."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, dict):
        return json.dumps(value)
    return "" if value is None else str(value)


def in_force(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Each setting with its variable, its value (a secret as asterisks), and whether that is the default."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        yield variables(name, field)[0], shown(value), value == field.default
