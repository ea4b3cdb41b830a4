"""`plinth policy` prints every RPC with its decision and its chain."""

import os
import subprocess
import sys

from pydantic import SecretStr

from server import app, policy_table
from server.settings import Settings


def test_the_command_prints_a_row_per_rpc(tmp_path: object) -> None:
    environment = dict(os.environ) | {"PLINTH_DATA_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-m", "server", "policy"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=environment,
    )
    head, *lines = result.stdout.splitlines()
    assert head.split()[:3] == ["rpc", "access", "permission"]
    assert [line.split()[0] for line in lines] == [path.removeprefix("/plinth.") for path in app.policies()]
    publish = next(line for line in lines if "PublishPage" in line)
    assert "sites.pages.publish" in publish
    assert "page.published" in publish
    assert publish.endswith("handler")


def test_every_row_tells_what_the_policy_says() -> None:
    rows = policy_table.rows(Settings(secret_key=SecretStr("0" * 32)))
    assert len(rows) == len(app.policies()) + 1
    for row, method in zip(rows[1:], app.policies().values(), strict=True):
        name, access, permission, rate_class, cache, event, chain = row
        assert name == method.path.removeprefix("/plinth.")
        assert access == method.access.value
        assert permission == (method.permission or "-")
        assert rate_class == method.rate_class
        assert cache == "-"
        assert event == (method.emits or "-")
        assert chain.startswith("errors > ")
        assert ("authenticate" in chain) is (access != "public")
