"""SEO metadata of the pages of a tenant's site. Every page has exactly one."""

from google.protobuf.empty_pb2 import Empty
from plinth.sites.v1 import page_seo_pb2
from plinth.sites.v1.page_pb2 import Page
from plinth.sites.v1.page_seo_pb2 import PageSeo
from plinth.sites.v1.site_seo_pb2 import SiteSeo
from sqlalchemy import any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Statement
from server.domains.sites.pages import PAGE
from server.domains.sites.seo_rules import findings_of, score_of
from server.domains.sites.tables import page_seo, pages, site_seo
from server.kernel.call import Call
from server.kernel.resources import Parent, Resource, Service

_id = UUID(as_uuid=False)
SAID = Statement(
    select(pages.c.id, pages.c.title, pages.c.description, site_seo.c.social_image_url, site_seo.c.no_index)
    .select_from(pages.outerjoin(site_seo, site_seo.c.tenant_id == pages.c.tenant_id))
    .where(pages.c.tenant_id == bindparam("tenant", type_=_id), pages.c.id == any_(bindparam("ids", type_=ARRAY(_id))))
)
"""Takes `tenant` and `ids`. What pages say themselves, with the settings of the site, if it has any."""


class PageSeoService(Service[PageSeo]):
    """SEO metadata of pages."""

    descriptor = page_seo_pb2.DESCRIPTOR.services_by_name["PageSeoService"]
    resource = Resource(
        PageSeo,
        page_seo,
        singleton=True,
        parent=Parent("page_id", PAGE),
        computed=("score", "findings"),
    )

    def present(self, call: Call, resources: list[PageSeo]) -> None:
        """Hold them against the rules."""
        ids = [resource.page_id for resource in resources]
        rows = call.reads.run(SAID, tenant=call.tenant_id, ids=ids).all()
        said = {row["id"]: row for row in rows}
        for resource in resources:
            row = said[resource.page_id]
            page = Page(title=row["title"], description=row["description"])
            site = SiteSeo(social_image_url=row["social_image_url"] or "", no_index=bool(row["no_index"]))
            findings = findings_of(page, resource, site)
            del resource.findings[:]
            resource.findings.extend(findings)
            resource.score = score_of(findings)

    def delete_page_seo(self, call: Call, request: page_seo_pb2.DeletePageSeoRequest) -> Empty:
        """Empty everything."""
        before = self.rows.lock(call, etag=request.etag, request=request)
        empty = PageSeo(id=before.id, tenant_id=before.tenant_id, page_id=before.page_id)
        call.event_payload = self.rows.update(call, empty, before)
        return Empty()
