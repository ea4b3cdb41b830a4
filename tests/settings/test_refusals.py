"""Faulty settings refuse the start of every command, each fault in a line."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from server.kernel.guard.limits import DEFAULT_RATES
from tests.certificates import make_certificate
from tests.settings.commands import SECRET, plinth, refusals

COMMANDS = (
    ("up",), ("serve",), ("realtime",), ("worker",), ("migrate",), ("seed",), ("gateway",), ("policy",),
    ("audit", "verify"), ("settings",), ("settings", "--current"), ("settings", "--markdown"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_refuses_what_is_misspelt(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert refusals(tmp_path, *command, PLINTH_PROT="9000") == [
        "PLINTH_PROT (environment): there is no such setting; did you mean `PLINTH_PORT`?"
    ]


def test_the_nearest_name_is_suggested(tmp_path: Path) -> None:
    meant = {
        "PLINTH_CORS_ORIGIN": "PLINTH_CORS_ORIGINS",
        "PLINTH_DATABASE_ULR": "DATABASE_URL",
        "PLINTH_ENVIROMENT": "PLINTH_ENVIRONMENT",
        "PLINTH_LOGLEVEL": "PLINTH_LOG_LEVEL",
        "PLINTH_ORIGINS": "PLINTH_CORS_ORIGINS",
        "PLINTH_RATELIMITS": "PLINTH_RATE_LIMITS",
        "PLINTH_WORKERS": "PLINTH_API_WORKERS",
        # In small letters a setting counts as well.
        "plinth_data_dri": "PLINTH_DATA_DIR",
    }
    unlike = ("PLINTH_", "PLINTH_XYZ")
    lines = refusals(tmp_path, **dict.fromkeys((*meant, *unlike), "hush"))
    hints = {name.upper(): f"did you mean `{known}`?" for name, known in meant.items()}
    hints |= dict.fromkeys(unlike, "`plinth settings` lists all")
    assert lines == [f"{name} (environment): there is no such setting; {hints[name]}" for name in sorted(hints)]


def test_a_value_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    environments = "development, staging or production"
    classes = f"a rate class, of {', '.join(sorted(DEFAULT_RATES))}"
    database = "a URL such as postgresql://user:password@host:5432/database"
    faulty = {
        "PLINTH_PORT": ("70000", "a whole number from 0 to 65535"),
        "PLINTH_STREAM_QUEUE": ("9", "a whole number of at least 10"),
        "PLINTH_REDIS_TIMEOUT": ("inf", "a number above 0"),
        "PLINTH_TRACE_SAMPLE_RATE": ("2", "a number from 0 to 1"),
        "PLINTH_CACHE_ENABLED": ("maybe", "true or false"),
        "PLINTH_LOG_LEVEL": ("debg", "DEBUG, INFO, WARNING or ERROR; did you mean `DEBUG`?"),
        "PLINTH_ENVIRONMENT": ("Stagging", f"{environments}; did you mean `staging`?"),
        "PLINTH_RATE_LIMITS": ("auth=5/900", 'a JSON object such as {"auth": "5/900"}'),
        "PLINTH_RATE_LIMITS_STRICT": ("paymnt", f"{classes}; did you mean `payment`?"),
        "PLINTH_CORS_HEADERS": ("x_team", "a name of a header: letters, digits and hyphens"),
        "PLINTH_SITES_DOMAIN": ("https://x.example", "a domain such as example.com, without a scheme or a port"),
        "PLINTH_WEBHOOK_ALLOWED_NETWORKS": (
            "10.1.0.3/16",
            "a network such as 10.1.0.0/16; did you mean `10.1.0.0/16`?",
        ),
        "DATABASE_URL": ("mysql://user:hush@db/x", database),
        "PLINTH_DATABASE_RUNTIME_URL": ("host=db password=hush", database),
        "REDIS_URL": ("hush.example:6379", "a URL such as redis://host:6379/0, rediss:// or unix://"),
        "PLINTH_SECRET_KEY": ("hush", "at least 32 characters"),
        "PLINTH_SECRET_KEY_PREVIOUS": ("hush", "at least 32 characters"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": ("http://user:hush@c:1", "http://host:port or https://host:port"),
    }
    lines = refusals(tmp_path, **{variable: value for variable, (value, _) in faulty.items()})
    shown = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://***@c:1"}
    shown |= {name: value for name, (value, _) in faulty.items() if "hush" not in value}
    assert sorted(lines) == sorted(
        f"{name} (environment): `{shown.get(name, '**********')}` is refused; allowed is {allowed}"
        for name, (_, allowed) in faulty.items()
    )


def test_no_value_breaks_a_line(tmp_path: Path) -> None:
    lines = refusals(
        tmp_path,
        PLINTH_PORT="80\n90",
        PLINTH_STREAM_QUEUE="",
        PLINTH_ENVIRONMENT="prod",
        PLINTH_HOST="::1",
        PLINTH_RATE_LIMITS='{"Auth": "5/900", "ai": "5", "probe": "1/86401", "general": "1/1"}',
        PLINTH_LOG_LEVEL="x" * 500,
    )
    rate = "calls/seconds such as 5/900: at least one call, at most 86400 seconds"
    assert [line.partition(" (environment): ")[2] for line in lines] == [
        "`80\\x0a90` is refused; allowed is a whole number from 0 to 65535",
        "`prod` is refused; allowed is development, staging or production; did you mean `production`?",
        f"ai: `5` is refused; allowed is {rate}",
        f"probe: `1/86401` is refused; allowed is {rate}",
        f"`{'x' * 200}...` is refused; allowed is DEBUG, INFO, WARNING or ERROR",
        "`` is refused; allowed is a whole number of at least 10",
        f"`Auth` is refused; allowed is a rate class, of {', '.join(sorted(DEFAULT_RATES))}; did you mean `auth`?",
    ]


def test_an_origin_without_a_scheme_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    lines = refusals(tmp_path, PLINTH_CORS_ORIGINS="app.example,https://fine.example,https://b.example/")
    assert [line.partition(" is refused; ")[0] for line in lines] == [
        "PLINTH_CORS_ORIGINS (environment): `app.example`",
        "PLINTH_CORS_ORIGINS (environment): `https://b.example/`",
    ]
    assert [line.rpartition("; ")[2] for line in lines] == [
        "did you mean `https://app.example`?",
        "did you mean `https://b.example`?",
    ]


def test_every_fault_is_listed_with_where_it_was_set(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# ours\nPLINTH_API_THREADS=many\nPLINTH_PROT=1\nPLINTH_SECRTE_KEY=hush\nPLINTH_PORT=8080\nOTHERS=1\n"
    )
    lines = refusals(
        tmp_path,
        PLINTH_PORT="x",
        PLINTH_RATE_LIMITS='{"atuh": "1/1", "ai": "1"}',
        PLINTH_TLS_KEY="/tls.key",
        PLINTH_ENVIRONMENT="PRODUCTION",
        PLINTH_DATABASE_POOL_SIZE="1",
    )
    assert [line.partition(":")[0] for line in lines] == [
        f"PLINTH_PROT ({file})",
        f"PLINTH_SECRTE_KEY ({file})",
        "PLINTH_PORT (environment)",
        f"PLINTH_API_THREADS ({file})",
        "PLINTH_RATE_LIMITS (environment)",
        # What contradicts something else that cannot be read, such as the pool's size, comes after that is mended.
        "PLINTH_TLS_CERTIFICATE",
        "PLINTH_SECRET_KEY",
        "PLINTH_RATE_LIMITS (environment)",
    ]
    assert "hush" not in "".join(lines)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PLINTH_PORT=8080\n'broken", ", line 2: cannot be read; allowed is NAME=value"),
        (b"PLINTH_PORT\n", ", line 1: cannot be read; allowed is NAME=value"),
        (b"PLINTH_TOKEN_ISSUER=\xff\n", " cannot be read: it is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    assert refusals(tmp_path) == [f"{tmp_path / '.env'}{why}"]


def test_names_in_a_file_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfPLINTH_PROT=1\r\nexport PLINTH_HSOT=x\r\n")
    assert [line.partition(" ")[0] for line in refusals(tmp_path)] == ["PLINTH_HSOT", "PLINTH_PROT"]


def test_the_gateway_starts_only_with_a_certificate_that_can_be_read(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    missing = tmp_path / "typo.pem"
    paths = {"PLINTH_TLS_CERTIFICATE": str(missing), "PLINTH_TLS_KEY": str(tmp_path)}
    for command in ("up", "gateway"):
        assert refusals(tmp_path, command, **paths) == [
            f"{name} (environment): `{path}` is refused; allowed is a PEM file that can be read"
            for name, path in paths.items()
        ]
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")[1]
    (locked := tmp_path / "locked.pem").write_bytes(
        load_pem_private_key(key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush")
        )
    )
    chain = "a PEM chain whose private key is in PLINTH_TLS_KEY, without a password"
    for unfit in (other, locked, certificate):
        variables = {"PLINTH_TLS_CERTIFICATE": str(certificate), "PLINTH_TLS_KEY": str(unfit)}
        assert refusals(tmp_path, "gateway", **variables) == [
            f"PLINTH_TLS_CERTIFICATE (environment): `{certificate}` is refused; allowed is {chain}"
        ]
    # Others need no certificate, and may not have it.
    assert plinth(tmp_path, "settings", **paths).returncode == 0


def test_production_demands_its_secret_and_its_passwords(tmp_path: Path) -> None:
    assert refusals(tmp_path, PLINTH_ENVIRONMENT="Production", PLINTH_PASSWORD_MEMORY="64") == [
        "PLINTH_SECRET_KEY: unset; production demands one, of at least 32 characters",
        "PLINTH_PASSWORD_MEMORY (environment): `64` is refused; production allows at least 19456",
    ]
    assert refusals(
        tmp_path, PLINTH_ENVIRONMENT="Production", PLINTH_SECRET_KEY=SECRET, PLINTH_DATABASE_POOL_SIZE="2"
    ) == ["PLINTH_DATABASE_POOL_SIZE (environment): `2` is refused; allowed is at least PLINTH_API_THREADS, which is 8"]
