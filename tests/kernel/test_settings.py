"""Settings: what contradicts itself is refused, and what is derived is right."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from server.domains.identity.passwords import Passwords
from server.settings import LONGEST_SOCKET_DIR, Settings
from server.settings_loading import EVERY_SETTING, describe

SECRET = "0" * 32


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the .env of this folder."""
    monkeypatch.chdir(tmp_path)


def made(**values: Any) -> Settings:
    return Settings(**values)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"tls_certificate": "a"}, "PLINTH_TLS_KEY: unset; PLINTH_TLS_CERTIFICATE is set"),
        ({"tls_key": "a"}, "PLINTH_TLS_CERTIFICATE: unset; PLINTH_TLS_KEY is set"),
        ({"cors_origins": "https://a.example,*"}, "never `*`"),
        ({"secret_key": "short"}, "at least 32 characters"),
        ({"environment": "production"}, "PLINTH_SECRET_KEY: unset"),
        ({"environment": "production", "secret_key": "x" * 32, "password_memory": 19455}, "PLINTH_PASSWORD_MEMORY"),
        ({"database_pool_size": 2, "api_threads": 8}, "at least PLINTH_API_THREADS"),
        ({"port": 70000}, "less than or equal to 65535"),
        ({"log_level": "LOUD"}, "DEBUG, INFO, WARNING or ERROR"),
        ({"rate_limits": {"auth": "1/86401"}}, "at most 86400 seconds"),
        ({"redis_timeout": float("inf")}, "finite number"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(fault)):
        made(**values)


def test_passwords_are_hashed_as_owasp_says_unless_told_otherwise() -> None:
    assert Passwords(made().password_memory).hash("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_secret_does_not_show_in_a_refusal_or_in_the_settings() -> None:
    secret = "x7" * 16
    assert secret not in repr(made(secret_key=secret))
    for values in ({"secret_key": secret, "tls_key": "a"}, {"secret_key": secret[1:]}, {"redis_url": secret}):
        with pytest.raises(ValidationError) as caught:
            made(**values)
        assert secret[1:] not in str(caught.value)


@pytest.mark.parametrize("written", ["Production", " PRODUCTION ", "production"])
def test_an_environment_is_named_in_any_case(written: str) -> None:
    assert made(environment=written, secret_key=SECRET).environment == "production"


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example",
        "https://app.example:8443",
        "http://localhost:3000",
        "http://[::1]:3000",
        "https://xn--mnchen-3ya.example",
        "capacitor://localhost",
        "chrome-extension://aaaabbbbccccddddeeeeffffgggghhhh",
    ],
)
def test_origins_as_browsers_send_them(origin: str) -> None:
    assert made(cors_origins=origin).cors_origins == (origin,)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("app.example", "https://app.example"),
        ("//app.example", "https://app.example"),
        ("app.example:8443", "https://app.example:8443"),
        ("localhost:3000", "http://localhost:3000"),
        ("127.0.0.1:5173", "http://127.0.0.1:5173"),
        ("https://app.example/", "https://app.example"),
        ("https://app.example/login?x#y", "https://app.example"),
        ("https://App.Example", "https://app.example"),
        ("HTTPS://app.example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("https://app.example:", "https://app.example"),
        ("https://user:word@app.example", "https://app.example"),
        ("htps://app.example", "https://app.example"),
        ("http:/app.example", "http://app.example"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("wss://app.example", None),
        ("https://*.app.example", None),
        ("https://app.example:99999", None),
        ("https://", None),
        ("null", None),
        ("*", None),
    ],
)
def test_what_no_browser_sends_is_no_origin(written: str, meant: str | None) -> None:
    with pytest.raises(ValidationError, match="scheme://host") as caught:
        made(cors_origins=written)
    assert str(caught.value).count("did you mean") == (meant is not None)
    assert meant is None or f"did you mean `{meant}`?" in str(caught.value)


def test_what_is_empty_is_unset() -> None:
    names = ("database_url", "redis_url", "secret_key", "tls_key", "tls_certificate", "otlp_endpoint", "default_tenant")
    settings = made(**dict.fromkeys(names, ""))
    assert [getattr(settings, name) for name in names] == [None] * len(names)


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLINTH_PORT", "9000")
    monkeypatch.setenv("PLINTH_CORS_ORIGINS", "https://a.example, https://b.example ,")
    monkeypatch.setenv("DATABASE_URL", "postgresql://owner@db/app")
    settings = made()
    assert settings.port == 9000
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.owner_dsn == "postgresql://owner@db/app"


def test_settings_do_not_change() -> None:
    settings: Any = made()
    with pytest.raises(ValidationError):
        settings.port = 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner:p%40ss%3A%2Fword@db.example:5433/app",
        "postgresql://owner@db/app?sslmode=require",
        "postgresql:///app?host=%2Ftmp%2Fsockets",
        "postgresql://owner:secret@h1:5432,h2:5433/app",
        "postgres://owner@[::1]:5432/app",
    ],
)
def test_roles_are_derived_from_the_owner_s_url(url: str) -> None:
    settings = made(secret_key=SECRET, database_url=url)
    owner = conninfo_to_dict(url)
    for purpose, dsn in (("runtime", settings.runtime_dsn), ("dispatch", settings.dispatch_dsn)):
        found = conninfo_to_dict(dsn)
        assert found == owner | {"user": settings.login_name(purpose), "password": settings.role_password(purpose)}
        assert settings.role_name(purpose) == f"app_{purpose}"
        assert re.fullmatch(f"app_{purpose}_[0-9a-f]{{8}}", settings.login_name(purpose))
    assert "p%40ss" not in settings.runtime_dsn


def test_a_database_with_signs_in_its_name_gives_a_role_that_can_log_in() -> None:
    settings = made(secret_key=SECRET, database_url="postgresql://owner@db/my%20app")
    assert conninfo_to_dict(settings.runtime_dsn)["user"] == settings.login_name("runtime")
    assert conninfo_to_dict(settings.runtime_dsn)["dbname"] == "my app"


def test_urls_that_are_given_are_taken_as_they_are() -> None:
    urls = {f"database_{purpose}_url": f"postgresql://{purpose}:x@db/app" for purpose in ("runtime", "dispatch")}
    settings = made(secret_key=SECRET, **urls)
    assert settings.runtime_dsn == urls["database_runtime_url"]
    assert settings.dispatch_dsn == urls["database_dispatch_url"]


def test_role_passwords_follow_from_the_secret() -> None:
    settings = made(secret_key=SECRET)
    assert settings.role_password("runtime") == made(secret_key=SECRET).role_password("runtime")
    others = {
        settings.role_password("runtime"),
        settings.role_password("dispatch"),
        made(secret_key="1" * 32).role_password("runtime"),
    }
    assert len(others) == 3
    assert SECRET not in settings.runtime_dsn
    assert made(secret_key="9" * 200).role_password("runtime")


def test_sockets_live_in_the_data_folder_or_in_a_short_path(tmp_path: Path) -> None:
    short = made(data_dir="/srv/p")
    assert short.socket_dir == Path("/srv/p/run")
    long = made(data_dir=tmp_path / ("long" * 30))
    assert len(str(long.socket_dir).encode()) <= LONGEST_SOCKET_DIR
    assert long.socket_dir == made(data_dir=tmp_path / ("long" * 30)).socket_dir
    assert long.socket_dir != made(data_dir=tmp_path / ("long" * 31)).socket_dir
    assert long.socket("api-0").parent == long.socket_dir


def test_signs_in_the_path_survive_in_urls() -> None:
    settings = made(data_dir="/srv/a b?c#d", secret_key=SECRET)
    assert conninfo_to_dict(settings.owner_dsn)["host"] == str(settings.socket_dir)
    assert conninfo_to_dict(settings.runtime_dsn)["host"] == str(settings.socket_dir)
    assert unquote(urlsplit(settings.redis_dsn).path) == str(settings.socket("redis"))


def test_a_secret_is_made_once_and_kept_for_us_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    secret = made(data_dir=folder).secret
    assert len(secret) >= 32
    assert made(data_dir=folder).secret == secret
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["secret"]
    assert made(data_dir=folder, secret_key=SECRET).secret == SECRET.encode()


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_loopback_is_known(host: str, loopback: bool) -> None:  # noqa: FBT001 - a fact of the table
    assert made(host=host).listens_on_loopback is loopback


def test_every_setting_is_described() -> None:
    rows = describe()
    assert len(rows) == len(EVERY_SETTING.model_fields) > len(Settings.model_fields)
    assert all(description.endswith(".") for _, _, description in rows)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+", variable) for variable, *_ in rows)
    defaults = {variable: default for variable, default, _ in rows}
    assert defaults["PLINTH_PORT"] == "8080"
    assert defaults["DATABASE_URL"] == ""
    assert defaults["PLINTH_CORS_ORIGINS"] == ""
