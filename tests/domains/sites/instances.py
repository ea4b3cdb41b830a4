"""How a tenant's pages are made and changed."""

from tests.clients import Tenant, unique
from tests.contract.instances import MARK, Instance, Mutation, Named, made


def _page(tenant: Tenant) -> Named:
    page = made(tenant, f"{tenant.path}/pages", {"slug": unique("page"), "title": f"{MARK}-{tenant.subdomain}"})
    return {"page_id": page["id"], "ids": [page["id"]], "slug": page["slug"], "etag": page["etag"]}


INSTANCES = {"plinth.sites.v1.Page": Instance(_page, lambda: {"slug": unique("page"), "title": "Planted"})}
MUTATIONS = (
    Mutation("PageService/CreatePage"),
    Mutation("PageService/UpdatePage"),
    Mutation("PageService/PublishPage"),
    Mutation("PageService/UnpublishPage", before="PublishPage"),
    Mutation("PageService/DuplicatePage"),
    Mutation("PageService/DeletePage"),
    Mutation("PageService/UndeletePage", before="DeletePage"),
)
