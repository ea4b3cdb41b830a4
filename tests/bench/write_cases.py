"""Writes of sites and files against FastAPI as documented: a page with its sections, an order, an upload."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import psycopg
from psycopg.types.json import Jsonb

from server.kernel.ids import new_id
from tests.bench import database
from tests.bench.cases import Setting, Stage, baseline_of, fastapi_of, plinth_of
from tests.bench.clocks import SERVER_CORE, clock_of, pin
from tests.bench.content import NUMBER
from tests.bench.engine import Case, Goal
from tests.bench.load import Bodies, BodiesLoad, send
from tests.bench.servers import FastApiServer
from tests.bench.subject import UNCACHED
from tests.clients import unique

SECTIONS = 10
REORDERED = 200
UPLOAD_BYTES = 5 * 1024 * 1024
# As long as those of browsers: a short one takes both sides twice as long to find.
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
CONTENT = {"heading": "Oil, brakes and tyres while you wait", "text": "No appointment needed. " * 8}
SECTION = {"kind": "hero", "title": "Start", "content": CONTENT}


def create_with_sections(stage: Stage, stack: ExitStack) -> Case:
    """CreatePage from a template of ten sections."""
    setting = stage(UNCACHED)
    app, template = fastapi_of(setting, stack, "fastapi_documented"), new_id()
    sections = Jsonb([SECTION] * SECTIONS)
    with psycopg.connect(setting.subject.admin_dsn) as connection:
        known = (template, unique("bench"), "Bench", sections)
        connection.execute(
            "INSERT INTO page_templates (id, key, display_name, sections) VALUES (%s, %s, %s, %s)", known
        )
    with psycopg.connect(setting.baseline_url) as connection:
        held = Jsonb({"sections": [SECTION] * SECTIONS})
        connection.execute("INSERT INTO templates (id, sections) VALUES (%s, %s)", (template, held))
    slug = f"{unique('ten')}-{NUMBER}"
    body = json.dumps({"slug": slug, "title": "Ten sections", "pageTemplateId": template}).encode()
    title = f"CreatePage with {SECTIONS} sections"
    return _compared(setting, app, "create-sections", title, Bodies("POST", setting.pages_path, [body]))


def reorder(stage: Stage, stack: ExitStack) -> Case:
    """ReorderSections of 200."""
    setting = stage(UNCACHED)
    plinth, app = setting.subject, fastapi_of(setting, stack, "fastapi_documented")
    page = json.loads(send(plinth.port, "POST", setting.pages_path, plinth.token, {"slug": unique("order")}))
    path = f"{setting.pages_path}/{page['id']}/sections"
    ids: list[str] = []
    for _ in range(REORDERED // 100):
        batch = {"requests": [{"section": SECTION}] * 100}
        made = json.loads(send(plinth.port, "POST", f"{path}:batchCreate", plinth.token, batch))
        ids += [each["id"] for each in made["sections"]]
    with psycopg.connect(setting.baseline_url) as connection:
        connection.execute(
            "INSERT INTO pages SELECT %s, tenant_id, %s, title, description, status, settings, publish_time, "
            "create_time, update_time, etag FROM pages LIMIT 1",
            (page["id"], page["slug"]),
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO sections VALUES (%s, %s, %s, 'hero', 'Start', %s, %s)",
                [(each, plinth.tenant_id, page["id"], Jsonb(CONTENT), place) for place, each in enumerate(ids, 1)],
            )
    orders = [json.dumps({"ids": order}).encode() for order in (ids, ids[::-1], ids[100:] + ids[:100])]
    sent = Bodies("PUT", f"{path}/reorder", orders)
    return _compared(setting, app, "reorder", f"ReorderSections of {REORDERED}", sent)


def upload(stage: Stage, stack: ExitStack) -> Case:
    """UploadAsset of 5 MB."""
    setting = stage(UNCACHED)
    app = fastapi_of(setting, stack, "fastapi_documented")
    pin(setting.subject.realtime, SERVER_CORE)
    content = b"%PDF-1.7\n" + NUMBER.encode() + os.urandom(UPLOAD_BYTES) + b"\n%%EOF\n"
    head = (
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="a.pdf"\r\n'
        "content-type: application/pdf\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    path = f"/api/v1/tenants/{setting.subject.tenant_id}/assets/upload"
    case = _compared(setting, app, "upload", "UploadAsset of 5 MB", Bodies("POST", path, [body], FORM))
    # Uploads are served where streams are.
    clocks = {**case.subject.clocks, "server": clock_of([setting.subject.realtime])}
    return replace(case, subject=replace(case.subject, clocks=clocks, pid=setting.subject.realtime), calls=UPLOADS)


UPLOADS = 60
CASES: dict[str, Callable[[Stage, ExitStack], Case]] = {
    "create-sections": create_with_sections,
    "reorder": reorder,
    "upload": upload,
}


def _compared(setting: Setting, app: FastApiServer, name: str, title: str, sent: Bodies) -> Case:
    plinth = setting.subject
    return Case(
        name=name,
        title=f"{title}, REST / FastAPI as documented",
        goal=Goal(2.0),
        note=database.durability(plinth.admin_dsn),
        subject=plinth_of(setting, BodiesLoad(plinth.port, plinth.token, sent), envoy=True),
        baseline=baseline_of(setting, "fastapi_documented", app.pid, BodiesLoad(app.port, app.token, sent)),
    )
