import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import chromium
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


@pytest.fixture(scope="module")
def origin(client: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the front end is."""
    folder = tmp_path_factory.mktemp("front-end")
    shutil.copy(Path(__file__).parent / "page.html", folder)
    shutil.copy(client.bundle, folder)
    with chromium.site(folder) as origin:
        yield origin
