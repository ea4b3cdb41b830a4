"""Follow what happens to pages. The stream resumes after a lost connection and after its token has expired."""

import os
import threading
import uuid
from contextlib import closing

from plinth.client import Plinth
from plinth.identity.v1.auth_pb2 import GetCurrentUserRequest
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page, WatchPagesRequest

with Plinth(
    os.environ["PLINTH_URL"], email=os.environ["PLINTH_EMAIL"], password=os.environ["PLINTH_PASSWORD"]
) as client:
    tenant_id = client.auth.get_current_user(GetCurrentUserRequest()).tenant_id
    stop = threading.Event()

    def write() -> None:
        """Make something happen, again and again: the stream begins a moment after it is asked for."""
        while not stop.wait(0.2):
            page = Page(slug=f"page-{uuid.uuid4()}")
            client.pages.create_page(CreatePageRequest(tenant_id=tenant_id, page=page))

    writer = threading.Thread(target=write)
    writer.start()
    with closing(client.pages.watch_pages(WatchPagesRequest(tenant_id=tenant_id))) as events:
        for number, event in enumerate(events):
            # Keep `event.id`: with `last_event_id=`, another process goes on after it.
            print(f"{event.type} {event.page.slug}")
            if number == 2:
                break
    stop.set()
    writer.join()
