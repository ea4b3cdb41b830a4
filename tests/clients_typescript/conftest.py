import os
from pathlib import Path

import pytest

from tests.clients_typescript import building
from tests.clients_typescript.building import Built


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The client, built once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return building.build(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(scope="session")
def project(client: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project in which the client was installed."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"name": "front-end", "private": true, "type": "module"}')
    building.npm(folder, "install", "--no-audit", "--no-fund", str(client.archive))
    return folder
