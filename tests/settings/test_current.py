"""`plinth settings --current` says what is in force, and where it comes from."""

import json
from pathlib import Path

import pytest

from server.settings_loading import describe
from tests.settings.commands import SECRET, plinth


def current(folder: Path, **variables: str) -> dict[str, tuple[str, str]]:
    """Value and source by variable."""
    done = plinth(folder, "settings", "--current", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {}
    for line in done.stdout.splitlines():
        setting, _, source = line.rpartition("  # ")
        name, _, value = setting.partition("=")
        rows[name] = (value, source)
    return rows


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PLINTH_HOST=::1\nPLINTH_PORT=1\nPLINTH_CORS_ORIGINS='https://a.example, https://b.example'\n")
    rows = current(tmp_path, PLINTH_PORT="8081", plinth_environment="STAGING", OTEL_EXPORTER_OTLP_ENDPOINT="http://c:1")
    assert rows["PLINTH_PORT"] == ("8081", "environment")
    assert rows["PLINTH_HOST"] == ("::1", str(file))
    assert rows["PLINTH_CORS_ORIGINS"] == ("https://a.example,https://b.example", str(file))
    assert rows["PLINTH_ENVIRONMENT"] == ("staging", "environment")
    assert rows["PLINTH_API_WORKERS"] == ("2", "default")
    assert rows["OTEL_EXPORTER_OTLP_ENDPOINT"] == ("http://c:1", "environment")
    assert "PLINTH_OTLP_ENDPOINT" not in rows
    assert len(rows) == len(describe())


def test_secrets_are_hidden_wherever_they_are_set(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"PLINTH_SECRET_KEY={SECRET}\nREDIS_URL=redis://:hush@cache/0\n")
    urls = {
        name: f"postgresql://u:hush@db/{name}"
        for name in ("PLINTH_DATABASE_URL", "DATABASE_RUNTIME_URL", "DATABASE_DISPATCH_URL")
    }
    providers = '{"google": {"client_id": "id", "client_secret": "hush"}}'
    variables = {
        **urls,
        "PLINTH_SECRET_KEY_PREVIOUS": SECRET[::-1],
        "PLINTH_IDENTITY_OAUTH_PROVIDERS": providers,
    }
    done = plinth(tmp_path, "settings", "--current", **variables)
    assert done.returncode == 0
    assert not [word for word in ("hush", SECRET, SECRET[::-1]) if word in done.stdout + done.stderr]
    rows = current(tmp_path, **variables)
    hidden = {name for name, (value, _) in rows.items() if value == "**********"}
    assert hidden == {*variables, "PLINTH_SECRET_KEY", "REDIS_URL"}
    assert rows["PLINTH_DATABASE_URL"][1] == "environment"


@pytest.mark.parametrize(
    ("variables", "auth", "source"),
    [
        ({}, "100/900", "default"),
        ({"PLINTH_ENVIRONMENT": "development", "PLINTH_RATE_LIMITS": '{"ai": "1/1"}'}, "100/900", "environment"),
        ({"PLINTH_RATE_LIMITS": '{"auth": "7/900"}'}, "7/900", "environment"),
        ({"PLINTH_ENVIRONMENT": "staging"}, "5/900", "default"),
        ({"PLINTH_ENVIRONMENT": "production", "PLINTH_SECRET_KEY": SECRET}, "5/900", "default"),
    ],
)
def test_only_development_lets_many_sign_in(tmp_path: Path, variables: dict[str, str], auth: str, source: str) -> None:
    value, where = current(tmp_path, **variables)["PLINTH_RATE_LIMITS"]
    assert (json.loads(value)["auth"], where) == (auth, source)
    assert json.loads(value)["general"] == "100/900"
