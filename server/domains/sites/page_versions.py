"""Versions of the pages of a tenant's site."""

from plinth.sites.v1 import page_version_pb2
from plinth.sites.v1.page_version_pb2 import ComparePageVersionResponse, ListPageCustomizationsResponse, PageVersion

from server.domains.sites.drafts import DRAFT, VERSION, Draft, keep_draft, shown_content
from server.domains.sites.page_changes import changes_between
from server.domains.sites.pages import PAGE
from server.domains.sites.tables import page_versions
from server.domains.sites.template_use import NOTED
from server.kernel.call import Call
from server.kernel.problems import StateForbids
from server.kernel.queries import OrderTerm
from server.kernel.resources import Parent, ReadRows, Resource, Service

RESOURCE = Resource(
    PageVersion,
    page_versions,
    filterable=("id", "number", "reason", "create_time"),
    sortable=("number",),
    default_order=(OrderTerm("number", descending=True),),
    parent=Parent("page_id", PAGE),
    hidden=("content",),
)


class PageVersionService(Service[PageVersion]):
    """Versions of pages. PublishPage and RestorePageVersion make some as well."""

    descriptor = page_version_pb2.DESCRIPTOR.services_by_name["PageVersionService"]
    resource = RESOURCE

    def __init__(self) -> None:
        super().__init__()
        self._pages = ReadRows(self, PAGE)

    def get_page_version(self, call: Call, request: page_version_pb2.GetPageVersionRequest) -> PageVersion:
        """Get a version with its content."""
        version = self.rows.get(call, request.page_version_id, request)
        version.content.CopyFrom(shown_content(self._content(call, version.page_id, version.id)))
        return version

    def save_page_version(self, call: Call, request: page_version_pb2.SavePageVersionRequest) -> PageVersion:
        """Save the draft of a page as a version."""
        turn, parameters = self.rows.admission.turn(call, {"tenant": call.tenant_id, "parent_id": request.page_id})
        if not call.writes.run(turn, **parameters).returned:
            raise self.rows.absent(call, request.page_id, request)
        kept = keep_draft(call.writes, call.tenant_id, request.page_id, PageVersion.REASON_SAVED, request.note)
        if not kept.is_new:
            metadata = {"resource_type": self._pages.type, "resource": request.page_id, "state": "unchanged"}
            raise StateForbids("The newest version says the same as the draft.", metadata=metadata)
        version = self.rows.get(call, kept.id)
        call.note_change(None, version)
        return version

    def compare_page_version(
        self, call: Call, request: page_version_pb2.ComparePageVersionRequest
    ) -> ComparePageVersionResponse:
        """Compare a version with the draft, or with another one."""
        version = self.rows.get(call, request.page_version_id, request)
        before = self._content(call, version.page_id, version.id)
        if request.with_version_id:
            other = self.rows.get(call, request.with_version_id, request)
            after = self._content(call, other.page_id, other.id)
        else:
            after = call.reads.run(DRAFT, tenant=call.tenant_id, page=version.page_id).value()
        changes, is_truncated = changes_between(before, after)
        return ComparePageVersionResponse(changes=changes, is_truncated=is_truncated)

    def list_page_customizations(
        self, call: Call, request: page_version_pb2.ListPageCustomizationsRequest
    ) -> ListPageCustomizationsResponse:
        """What is not as the template made it."""
        page = self._pages.get(call, request.page_id)
        key = {"tenant": call.tenant_id, "page": page.id}
        version_id = call.reads.run(NOTED, **key).value()
        answer = ListPageCustomizationsResponse(template_id=page.page_template_id)
        if version_id is not None:
            made = self._content(call, page.id, version_id)
            changes, answer.is_truncated = changes_between(made, call.reads.run(DRAFT, **key).value())
            answer.changes.extend(changes)
        return answer

    def _content(self, call: Call, page_id: str, version_id: str) -> Draft:
        draft: Draft = call.reads.run(VERSION, tenant=call.tenant_id, page=page_id, kept=version_id).value()
        return draft
