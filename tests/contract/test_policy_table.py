"""`plinth policy` prints every RPC with its decision, what guards it, and its chain."""

import os
import subprocess
import sys

import pytest
from pydantic import SecretStr

from server import app, policy_table
from server.settings import Settings
from tests.stack import PATIENCE

Row = dict[str, str]


@pytest.fixture(scope="module")
def table() -> dict[str, Row]:
    """Each row by its RPC, such as `sites.v1.PageService/GetPage`."""
    head, *rows = policy_table.rows(Settings(secret_key=SecretStr("0" * 32)))
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def test_the_command_prints_a_row_per_rpc(tmp_path: object) -> None:
    environment = dict(os.environ) | {"PLINTH_DATA_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-m", "server", "policy"],
        capture_output=True,
        text=True,
        check=True,
        timeout=2 * PATIENCE,
        env=environment,
    )
    head, *lines = result.stdout.splitlines()
    assert head.split()[:3] == ["rpc", "access", "permission"]
    assert [line.split()[0] for line in lines] == [path.removeprefix("/plinth.") for path in app.policies()]
    publish = next(line for line in lines if "PublishPage" in line)
    assert "sites.pages.publish" in publish
    assert "page.published" in publish
    assert publish.endswith("handler")


def test_every_row_tells_what_the_policy_says(table: dict[str, Row]) -> None:
    assert len(table) == len(app.policies())
    for row, method in zip(table.values(), app.policies().values(), strict=True):
        assert row["rpc"] == method.path.removeprefix("/plinth.")
        assert row["access"] == method.access.value
        assert row["permission"] == (method.permission or "-")
        assert row["rate class"] == method.rate_class
        assert row["cache"].startswith(f"{method.cache_seconds:.0f}s" if method.cache_seconds else "-")
        assert row["event"] == (method.emits or "-")
        assert row["chain"].startswith("errors > ")
        assert ("authenticate" in row["chain"]) is (row["access"] not in ("public", "provider_signature"))
        assert ("cache" in row["chain"]) is (row["cache"] != "-")
        assert ("idempotency" in row["chain"]) is (not method.read_only)


@pytest.mark.parametrize(
    ("rpc", "column", "shown"),
    [
        ("ListPages", "cache", "120s per caller"),
        ("GetPage", "cache", "300s"),
        ("GetPage", "invalidates", "-"),
        ("UpdatePage", "invalidates", "tenant:{tenant_id}:pages"),
        ("DeleteTenant", "invalidates", "tenant:{tenant_id} access:{tenant_id}"),
        ("UpdateRole", "invalidates", "access:{tenant_id}"),
        ("LogIn", "pool", "slow"),
        ("LogIn", "criticality", "critical"),
        ("LogIn", "rate class", "auth"),
        ("GetPage", "pool", "fast"),
        ("ListPages", "criticality", "sheddable"),
        ("WatchPages", "pool", "-"),
        ("WatchPages", "criticality", "-"),
    ],
)
def test_what_guards_an_rpc_is_shown(table: dict[str, Row], rpc: str, column: str, shown: str) -> None:
    (row,) = [row for name, row in table.items() if name.rpartition("/")[2] == rpc]
    assert row[column] == shown
