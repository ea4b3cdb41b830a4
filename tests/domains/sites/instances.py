"""How a tenant's pages and their sections are made and changed."""

from typing import Any

from server.kernel.ids import new_id
from tests.clients import Tenant, rows, unique
from tests.contract.instances import LATE, MARK, Instance, Move, Mutation, Named, made

OK = 200
CREATE_TEMPLATE = "/plinth.sites.v1.PageTemplateService/CreatePageTemplate"
PLANT = "INSERT INTO page_templates (id, key, display_name) VALUES (%s, %s, %s) RETURNING id"


def planted_template(tenant: Tenant) -> str:
    """The id of a new template without sections. By SQL, as platform administrators are many tests' own."""
    template_id = new_id()
    assert rows(tenant.stack, PLANT, template_id, unique("template"), f"{MARK}-{tenant.subdomain}")
    return template_id


def new_template() -> dict[str, Any]:
    """The JSON of a new template."""
    return {"key": unique("template"), "displayName": "Planted", "sections": [{"kind": "hero"}]}


def _page(tenant: Tenant) -> Named:
    """With a version, below another page, of which it is a translation."""
    title = f"{MARK}-{tenant.subdomain}"
    above = made(tenant, f"{tenant.path}/pages", {"slug": unique("page"), "title": title})["id"]
    place = {"parentId": above, "originalId": above, "locale": "de-AT", "pageTemplateId": planted_template(tenant)}
    page = made(tenant, f"{tenant.path}/pages", {"slug": unique("page"), "title": title, **place})
    # The one that the template has made.
    [version] = tenant.rest.get(f"{tenant.path}/pages/{page['id']}/versions").json()["pageVersions"]
    named = {"page_id": page["id"], "ids": [page["id"]], "slug": page["slug"], "etag": page["etag"]}
    beside = {"parent_id": above, "original_id": above, "page_template_id": page["pageTemplateId"]}
    return named | beside | {"page_version_id": version["id"]}


def _page_version(tenant: Tenant) -> Named:
    """The second one of a page that has changed since."""
    named = _page(tenant)
    page = f"{tenant.path}/pages/{named['page_id']}"
    assert tenant.rest.patch(page, {"description": f"{MARK}-{tenant.subdomain}"}).status_code == OK
    version = made(tenant, f"{page}/versions", {"note": f"{MARK}-{tenant.subdomain}"})
    assert tenant.rest.patch(page, {"description": "Another"}).status_code == OK
    there = {"page_id": named["page_id"], "with_version_id": named["page_version_id"]}
    return there | {"page_version_id": version["id"], "etag": version["etag"]}


def _section_type(tenant: Tenant) -> Named:
    body = {"kind": unique("kind"), "displayName": f"{MARK}-{tenant.subdomain}", "schema": {"type": "object"}}
    section_type = made(tenant, f"{tenant.path}/section-types", body)
    return {"section_type_id": section_type["id"], "etag": section_type["etag"]}


def _redirect(tenant: Tenant) -> Named:
    body = {"path": f"/{unique('old')}", "note": f"{MARK}-{tenant.subdomain}"}
    redirect = made(tenant, f"{tenant.path}/redirects", body)
    return {"redirect_id": redirect["id"], "etag": redirect["etag"]}


def _publish(tenant: Tenant, page_id: str) -> object:
    return made(tenant, f"{tenant.path}/pages/{page_id}/publish", {}, 200)


def _section(tenant: Tenant) -> Named:
    """With a sibling. Their ids are in another order than they have."""
    page_id = _page(tenant)["page_id"]
    path = f"{tenant.path}/pages/{page_id}/sections"
    body = {"kind": "hero", "title": f"{MARK}-{tenant.subdomain}"}
    first, second = (made(tenant, path, body) for _ in range(2))
    named = {"section_id": first["id"], "page_id": page_id, "ids": [second["id"], first["id"]]}
    return named | {"etag": first["etag"]}


def _page_seo(tenant: Tenant) -> Named:
    page = _page(tenant)
    answer = tenant.rest.patch(f"{tenant.path}/pages/{page['page_id']}/seo", {"title": f"{MARK}-{tenant.subdomain}"})
    assert answer.status_code == OK, answer.text
    return {"page_id": page["page_id"], "etag": answer.json()["etag"]}


def _site_seo(tenant: Tenant) -> Named:
    answer = tenant.rest.patch("/api/v1/cms/seo", {"siteName": f"{MARK}-{tenant.subdomain}"[:60]})
    assert answer.status_code == OK, answer.text
    return {"etag": answer.json()["etag"]}


def _optimizable(sweep: Any) -> dict[str, Any]:
    """A published page that says more than its metadata."""
    page_id = _page(sweep.tenant)["page_id"]
    path = f"{sweep.tenant.path}/pages/{page_id}"
    made(
        sweep.tenant, f"{path}/sections", {"kind": "hero", "content": {"text": "Oil, brakes and tyres while you wait."}}
    )
    made(sweep.tenant, f"{path}/publish", {}, OK)
    return {"apply": True}


def _navigation_item(tenant: Tenant) -> Named:
    """Below another one. Their ids are in another order than they have."""
    path = f"{tenant.path}/navigation"
    above = made(tenant, path, {"title": f"{MARK}-{tenant.subdomain}"})
    item = made(tenant, path, {"title": f"{MARK}-{tenant.subdomain}", "parentId": above["id"]})
    named = {"navigation_item_id": item["id"], "parent_id": above["id"], "ids": [item["id"], above["id"]]}
    return named | {"etag": item["etag"]}


def _other_navigation(sweep: Any) -> dict[str, Any]:
    """All items of the tenant, in another order than they have."""
    there = sweep.tenant.rest.get(f"{sweep.tenant.path}/navigation").json()["navigationItems"]
    return {"ids": [each["id"] for each in reversed(there)]}


def _more_changes(sweep: Any) -> dict[str, Any]:
    """Beside the update, a creation and the deletion of what a batch has created."""
    made = sweep.answers["/plinth.sites.v1.SectionService/BatchCreateSections"].sections[0]
    return {"operations": [{"create": {"section": {"kind": "hero"}}}, {"delete": {"sectionId": made.id}}]}


def _other_order(sweep: Any) -> dict[str, Any]:
    """All sections of the page, in another order than they have."""
    page_id = sweep.house.of("sites.v1.Section")["page_id"]
    there = sweep.tenant.rest.get(f"{sweep.tenant.path}/pages/{page_id}/sections").json()["sections"]
    return {"ids": [each["id"] for each in reversed(there)]}


INSTANCES = {
    "plinth.sites.v1.Page": Instance(
        _page,
        lambda: {"slug": unique("page"), "title": "Planted"},
        move=Move(_publish, enum=("status", "DRAFT", "PUBLISHED"), sets="publishTime"),
    ),
    "plinth.sites.v1.Section": Instance(_section, lambda: {"kind": "hero", "title": unique("Planted")}),
    "plinth.sites.v1.PageTemplate": Instance(
        lambda tenant: {"page_template_id": planted_template(tenant)}, new_template
    ),
    "plinth.sites.v1.PageVersion": Instance(_page_version),
    "plinth.sites.v1.SectionType": Instance(
        _section_type,
        lambda: {"kind": unique("kind"), "displayName": "Planted", "schema": {"type": "object"}},
        ruled=("schema",),
    ),
    "plinth.sites.v1.Redirect": Instance(_redirect, lambda: {"path": f"/{unique('old')}", "note": unique("Planted")}),
    "plinth.sites.v1.PageSeo": Instance(_page_seo, lambda: {"title": unique("Planted")}),
    "plinth.sites.v1.SiteSeo": Instance(_site_seo, lambda: {"siteName": unique("Planted")}),
    "plinth.sites.v1.NavigationItem": Instance(_navigation_item, lambda: {"title": unique("Planted")}),
}


def _importable(sweep: Any) -> dict[str, Any]:
    """An archive, once the tenant has no site any more."""
    tenant = sweep.tenant
    for what in ("navigation", "redirects", "sectionTypes", "pages"):
        path = f"{tenant.path}/{'section-types' if what == 'sectionTypes' else what}"
        for each in tenant.rest.get(path).json()["navigationItems" if what == "navigation" else what]:
            tenant.rest.delete(f"{path}/{each['id']}")
    return {}


MUTATIONS = (
    Mutation("PageService/CreatePage"),
    Mutation("PageService/UpdatePage"),
    Mutation("PageService/PublishPage"),
    Mutation("PageService/UnpublishPage", before="PublishPage"),
    Mutation("PageService/SchedulePage", lambda _: {"publishTime": "2999-01-01T00:00:00Z"}),
    Mutation("PageService/RestorePageVersion"),
    Mutation("PageService/DuplicatePage"),
    Mutation("PageService/DeletePage"),
    Mutation("PageService/UndeletePage", before="DeletePage"),
    Mutation("SectionService/CreateSection"),
    Mutation("SectionService/UpdateSection"),
    Mutation("SectionService/BatchCreateSections"),
    Mutation("SectionService/BatchUpdateSections"),
    Mutation("SectionService/BatchWriteSections", _more_changes),
    Mutation("SectionService/ReorderSections", _other_order),
    Mutation("SectionService/DeleteSection"),
    Mutation("SectionService/UndeleteSection", before="DeleteSection"),
    Mutation("SectionService/BatchDeleteSections"),
    Mutation("PageService/ApplyPageTemplate"),
    Mutation("PageService/ResetPageToTemplate"),
    Mutation("PageTemplateService/CreatePageTemplate", lambda _: {"pageTemplate": new_template()}),
    Mutation(
        "PageTemplateService/UpdatePageTemplate",
        lambda sweep: {"pageTemplateId": sweep.answers[CREATE_TEMPLATE].id, "pageTemplate": {"displayName": "Other"}},
    ),
    Mutation(
        "PageTemplateService/DeletePageTemplate",
        lambda sweep: {"pageTemplateId": sweep.answers[CREATE_TEMPLATE].id},
    ),
    Mutation("PageVersionService/SavePageVersion"),
    Mutation("SectionTypeService/CreateSectionType"),
    Mutation("SectionTypeService/UpdateSectionType", lambda _: {"updateMask": "displayName"}, mask=("display_name",)),
    Mutation("SectionTypeService/DeleteSectionType"),
    Mutation("RedirectService/CreateRedirect"),
    Mutation("RedirectService/UpdateRedirect", lambda _: {"updateMask": "note"}, mask=("note",)),
    Mutation("RedirectService/DeleteRedirect"),
    Mutation("PageSeoService/UpdatePageSeo"),
    Mutation("PageSeoService/DeletePageSeo", before="UpdatePageSeo"),
    Mutation("SiteSeoService/UpdateSiteSeo"),
    Mutation("SiteSeoService/RefreshSiteSeo"),
    Mutation("SiteSeoService/OptimizeSiteSeo", _optimizable),
    Mutation("NavigationItemService/CreateNavigationItem"),
    Mutation("NavigationItemService/UpdateNavigationItem"),
    Mutation("NavigationItemService/ReorderNavigationItems", _other_navigation),
    Mutation("NavigationItemService/DeleteNavigationItem"),
    Mutation("SiteArchiveService/ExportSite"),
    Mutation("SiteArchiveService/ImportSite", _importable, stage=LATE),
)
