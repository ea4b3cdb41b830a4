"""Templates of pages, which platform administrators keep for all tenants."""

from typing import TYPE_CHECKING

from google.api.httpbody_pb2 import HttpBody
from plinth.sites.v1 import page_template_pb2
from plinth.sites.v1.page_template_pb2 import Industry, ListIndustriesResponse, PageTemplate

from server.domains.sites.built_in_sections import SCHEMAS
from server.domains.sites.industries import INDUSTRIES
from server.domains.sites.site_html import Look, page_html
from server.domains.sites.tables import page_templates
from server.kernel.call import Call
from server.kernel.messages import fill_struct, plain_struct
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Resource, Service

if TYPE_CHECKING:
    from server.json_values import JsonObject, JsonValue

PREVIEW = Look(site_name="Preview")


class PageTemplateService(Service[PageTemplate]):
    """Templates."""

    descriptor = page_template_pb2.DESCRIPTOR.services_by_name["PageTemplateService"]
    resource = Resource(
        PageTemplate,
        page_templates,
        filterable=(
            *("id", "key", "display_name", "category", "industry", "is_premium", "create_time", "update_time"),
        ),
        sortable=("create_time", "key", "display_name"),
        unique={"page_templates_key_key": "key"},
    )

    def prepare(self, call: Call, resource: PageTemplate, before: PageTemplate | None) -> None:
        """Clean the rich text of its sections."""
        del call, before
        for section in resource.sections:
            if section.kind in SCHEMAS and section.HasField("content"):
                cleaned = SCHEMAS[section.kind].cleaned(plain_struct(section.content))
                section.content.Clear()
                fill_struct(section.content, cleaned)

    def check(self, call: Call, resource: PageTemplate, before: PageTemplate | None) -> None:
        """Refuse an unknown industry, and sections that do not follow the built-in types."""
        del call, before
        faults = [fault for place in range(len(resource.sections)) for fault in _faults(resource, place)]
        if resource.industry and resource.industry not in INDUSTRIES:
            fault = "is none of ListIndustries"
            faults.append(Violation("page_template.industry", fault, "template.industry"))
        if faults:
            raise broken_rules(faults)

    def preview_page_template(self, call: Call, request: page_template_pb2.PreviewPageTemplateRequest) -> HttpBody:
        """A page that is made of it."""
        template = self.rows.get(call, request.page_template_id)
        sections: list[JsonValue] = [
            {"kind": section.kind, "title": section.title, "content": plain_struct(section.content)}
            for section in template.sections
        ]
        title = template.page_title or template.display_name
        page: JsonObject = {"title": title, "description": template.description, "sections": sections, "seo": None}
        return HttpBody(content_type="text/html; charset=utf-8", data=page_html(page, PREVIEW).encode())

    def list_industries(self, call: Call, request: page_template_pb2.ListIndustriesRequest) -> ListIndustriesResponse:
        """The industries."""
        del call, request
        industries = [Industry(key=key, display_name=name) for key, name in INDUSTRIES.items()]
        return ListIndustriesResponse(industries=industries)


def _faults(template: PageTemplate, place: int) -> list[Violation]:
    section, path = template.sections[place], f"page_template.sections[{place}]"
    if section.kind not in SCHEMAS:
        return [Violation(f"{path}.kind", "is no built-in type of section", "section.kind")]
    faults = SCHEMAS[section.kind].faults(plain_struct(section.content))
    return [fault.within(f"{path}.content") for fault in faults]
