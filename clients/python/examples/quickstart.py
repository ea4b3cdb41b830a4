"""Create a page, read it, and list all pages.

Every example takes the server and the credentials from the environment: PLINTH_URL, PLINTH_EMAIL and PLINTH_PASSWORD,
as `make up` prints them.
"""

import os

from plinth.client import Plinth
from plinth.identity.v1.auth_pb2 import GetCurrentUserRequest
from plinth.sites.v1.page_pb2 import CreatePageRequest, GetPageRequest, ListPagesRequest, Page

with Plinth(
    os.environ["PLINTH_URL"], email=os.environ["PLINTH_EMAIL"], password=os.environ["PLINTH_PASSWORD"]
) as client:
    tenant_id = client.auth.get_current_user(GetCurrentUserRequest()).tenant_id
    page = client.pages.create_page(CreatePageRequest(tenant_id=tenant_id, page=Page(title="Hello")))
    same = client.pages.get_page(GetPageRequest(tenant_id=tenant_id, page_id=page.id))
    print(f"created {same.slug}")
    for each in client.pages.list_pages.iterate(ListPagesRequest(tenant_id=tenant_id)):
        print(f"listed {each.slug}")
