"""Cleaning up, in a stack of its own: what no asset names goes, and nothing else."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from server.data.transactions import Database
from server.domains.files.clean_up import CleanUp
from server.domains.files.object_store import ObjectStore
from server.domains.files.settings import FilesSettings
from server.kernel.clock import utc_now
from tests.clients import Tenant, new_tenant, rows
from tests.domains.files.samples import PDF, content, image, uploaded
from tests.domains.files.test_resumable import append, begun
from tests.domains.files.test_uploads import objects, usage
from tests.domains.sites.archives import exported
from tests.kernel.database import connections
from tests.stack import Stack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
LATER = timedelta(days=3)


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    stack = Stack(api_workers=1).start()
    yield stack
    stack.remove()


@pytest.fixture
def tenant(own: Stack) -> Tenant:
    return new_tenant(own)


def clean(stack: Stack, after: timedelta = LATER) -> None:
    """As a worker does it, some time from now."""
    with connections(stack.settings.dispatch_dsn) as dispatch:
        store = ObjectStore(FilesSettings(), stack.settings.data_dir)
        clean_up = CleanUp(Database(dispatch), store, lambda: utc_now() + after)
        clean_up.end_rows()
        clean_up.sweep()


def forget(stack: Stack, tenant: Tenant) -> None:
    """Let the retention of deleted assets have ended."""
    rows(stack, "DELETE FROM assets WHERE tenant_id = %s AND delete_time IS NOT NULL RETURNING id", tenant.id)


def test_what_is_used_stays(own: Stack, tenant: Tenant) -> None:
    asset, coming = uploaded(tenant, image()), begun(tenant, len(PDF))
    assert append(tenant, coming, 0, PDF[:9]).status_code == 204
    before = usage(tenant)
    clean(own)
    assert content(tenant, asset).status_code == 200
    assert append(tenant, coming, 9, PDF[9:]).status_code == 204
    assert usage(tenant)["storedBytes"] == before["storedBytes"] + len(PDF)


def test_bytes_go_with_the_last_asset_that_names_them(own: Stack, tenant: Tenant) -> None:
    first, second = (uploaded(tenant, image(), name) for name in ("a.png", "b.png"))
    tenant.rest.delete(f"{tenant.path}/assets/{first['id']}")
    forget(own, tenant)
    clean(own)
    assert content(tenant, second).status_code == 200
    tenant.rest.delete(f"{tenant.path}/assets/{second['id']}")
    clean(own)
    assert len(objects(own, tenant)) == 2, "it can still be restored"
    forget(own, tenant)
    clean(own, timedelta())
    assert len(objects(own, tenant)) == 2, "a call may be about to name it"
    clean(own)
    assert objects(own, tenant) == []
    assert usage(tenant)["storedBytes"] == 0
    assert content(tenant, uploaded(tenant, image())).status_code == 200


def test_an_upload_that_nobody_goes_on_with_ends(own: Stack, tenant: Tenant) -> None:
    path = begun(tenant, len(PDF))
    assert append(tenant, path, 0, PDF[:9]).status_code == 204
    rows(own, "UPDATE asset_uploads SET expire_time = now() WHERE tenant_id = %s RETURNING id", tenant.id)
    assert append(tenant, path, 9, PDF[9:]).status_code == 404
    clean(own)
    assert objects(own, tenant, "uploads") == []
    assert tenant.rest.get(f"{tenant.path}/assets").json()["assets"] == []


def test_what_is_absent_keeps_nothing_else_from_going(own: Stack, tenant: Tenant) -> None:
    store = ObjectStore(FilesSettings(), own.settings.data_dir / "apart")
    keys = [f"blobs/{tenant.id}/x/{name}" for name in ("a", "b", "c")]
    for key in (keys[0], keys[2]):
        store.put(key, b"x")
    store.delete(keys)
    assert [found for some in store.list("blobs") for found in some] == []


def test_what_no_row_names_goes_after_a_day(own: Stack, tenant: Tenant) -> None:
    lost = own.settings.data_dir / "files" / "blobs" / tenant.id / "01890000-0000-7000-8000-000000000000" / "original"
    lost.parent.mkdir(parents=True)
    lost.write_bytes(b"lost")
    clean(own, timedelta())
    assert lost.exists()
    clean(own)
    assert not lost.exists()


def test_the_file_of_an_operation_goes_after_its_week(own: Stack, tenant: Tenant) -> None:
    archive = exported(tenant)
    clean(own, timedelta(days=7))
    [path] = objects(own, tenant, "work")
    assert path.read_bytes() == archive
    clean(own, timedelta(days=8, seconds=1))
    assert objects(own, tenant, "work") == []


def test_the_files_of_a_tenant_go_with_it(own: Stack) -> None:
    tenant = new_tenant(own)
    uploaded(tenant, PDF)
    rows(own, "DELETE FROM tenants WHERE id = %s RETURNING id", tenant.id)
    clean(own)
    assert objects(own, tenant) == []


def test_a_process_that_dies_in_the_middle_loses_nothing_that_was_acknowledged(own: Stack, tenant: Tenant) -> None:
    path = begun(tenant, len(PDF))
    assert append(tenant, path, 0, PDF[:9]).status_code == 204
    asset = uploaded(tenant, image())
    own.kill("realtime-0")
    deadline = time.monotonic() + 60
    while append(tenant, path, 9, PDF[9:]).status_code != 204:
        assert time.monotonic() < deadline
    assert content(tenant, asset).status_code == 200
