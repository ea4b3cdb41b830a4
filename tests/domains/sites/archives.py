"""Archives of sites, as a front-end developer makes and takes them."""

import json
import zipfile
from io import BytesIO
from typing import Any

import httpx

from tests.clients import Tenant

WAIT = 60


def ended(tenant: Tenant, started: httpx.Response) -> dict[str, Any]:
    """The operation that a call has started, once it has ended."""
    assert started.status_code == 202, started.text
    path = f"/api/v1/long-operations/{started.json()['id']}/wait"
    for _ in range(WAIT // 20):
        operation: dict[str, Any] = tenant.rest.get(path, {"timeoutSeconds": 20}).json()
        if "endTime" in operation:
            return operation
    raise TimeoutError(operation)


def done(tenant: Tenant, started: httpx.Response) -> dict[str, Any]:
    """The same, of one that succeeds."""
    operation = ended(tenant, started)
    assert operation["state"] == "STATE_DONE", operation
    return operation


def exported(tenant: Tenant) -> bytes:
    """An archive of a tenant's site."""
    operation = done(tenant, tenant.rest.post(f"{tenant.path}/site/export", {}))
    answer = tenant.rest.get(f"/api/v1/long-operations/{operation['id']}/file")
    assert answer.status_code == 200, answer.text
    return answer.content


def import_archive(tenant: Tenant, archive: bytes) -> httpx.Response:
    """Begin to make a site of an archive."""
    return tenant.rest.request(
        "POST", f"{tenant.path}/site/import", content=archive, headers={"content-type": "application/zip"}
    )


def read(archive: bytes) -> dict[str, Any]:
    """What an archive holds, by name: JSON, or bytes."""
    with zipfile.ZipFile(BytesIO(archive)) as file:
        found = {name: file.read(name) for name in file.namelist()}
    return {name: json.loads(data) if name.endswith(".json") else data for name, data in found.items()}


def written(entries: dict[str, Any]) -> bytes:
    """An archive with these entries."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in entries.items():
            archive.writestr(name, value if isinstance(value, bytes) else json.dumps(value))
    return file.getvalue()
