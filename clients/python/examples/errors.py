"""Tell errors apart: by class, by reason, and by the fields they are about."""

import os
import uuid

from plinth.client import AlreadyExists, InvalidArgument, NotFound, Plinth
from plinth.identity.v1.auth_pb2 import GetCurrentUserRequest
from plinth.sites.v1.page_pb2 import CreatePageRequest, GetPageRequest, Page

with Plinth(
    os.environ["PLINTH_URL"], email=os.environ["PLINTH_EMAIL"], password=os.environ["PLINTH_PASSWORD"]
) as client:
    tenant_id = client.auth.get_current_user(GetCurrentUserRequest()).tenant_id
    try:
        client.pages.create_page(CreatePageRequest(tenant_id=tenant_id, page=Page(slug="Not a slug")))
    except InvalidArgument as error:
        for violation in error.violations:
            print(f"{violation.field} breaks {violation.rule}")

    page = Page(slug=f"page-{uuid.uuid4()}")
    client.pages.create_page(CreatePageRequest(tenant_id=tenant_id, page=page))
    try:
        client.pages.create_page(CreatePageRequest(tenant_id=tenant_id, page=page))
    except AlreadyExists as error:
        print(f"{error.reason}: {error.metadata['field']}")

    try:
        client.pages.get_page(GetPageRequest(tenant_id=tenant_id, page_id=str(uuid.uuid4())))
    except NotFound as error:
        print(f"{error.reason}, request {error.request_id}")
