"""Create pages at the same time, with asyncio."""

import asyncio
import os

from plinth.client import AsyncPlinth
from plinth.identity.v1.auth_pb2 import GetCurrentUserRequest
from plinth.sites.v1.page_pb2 import CreatePageRequest, ListPagesRequest, Page


async def main() -> None:
    """Create three pages, and list all."""
    async with AsyncPlinth(
        os.environ["PLINTH_URL"], email=os.environ["PLINTH_EMAIL"], password=os.environ["PLINTH_PASSWORD"]
    ) as client:
        tenant_id = (await client.auth.get_current_user(GetCurrentUserRequest())).tenant_id
        requests = [CreatePageRequest(tenant_id=tenant_id, page=Page(title=f"Page {number}")) for number in range(3)]
        pages = await asyncio.gather(*map(client.pages.create_page, requests))
        print(f"created {', '.join(page.slug for page in pages)}")
        async for page in client.pages.list_pages.iterate(ListPagesRequest(tenant_id=tenant_id)):
            print(f"listed {page.slug}")


asyncio.run(main())
