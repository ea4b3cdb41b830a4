"""Sections of the pages of a tenant's site."""

from plinth.sites.v1 import section_pb2
from plinth.sites.v1.section_pb2 import Section

from server.domains.sites.pages import PAGE
from server.domains.sites.section_types import SectionContents
from server.domains.sites.tables import sections
from server.kernel.call import Call
from server.kernel.problems import broken_rules
from server.kernel.queries import OrderTerm
from server.kernel.resources import Parent, Resource, Service

MOST = 1_000


class SectionService(Service[Section]):
    """Sections of the pages of a tenant's site."""

    descriptor = section_pb2.DESCRIPTOR.services_by_name["SectionService"]
    resource = Resource(
        Section,
        sections,
        filterable=("id", "kind", "title", "hidden", "place", "create_time", "update_time"),
        sortable=("place", "create_time"),
        default_order=(OrderTerm("place", descending=False),),
        parent=Parent("page_id", PAGE),
        order="place",
        most=MOST,
    )

    def __init__(self, contents: SectionContents) -> None:
        super().__init__()
        self._contents = contents

    def prepare(self, call: Call, resource: Section, before: Section | None) -> None:
        """Clean its rich text."""
        if _says_something_else(resource, before):
            self._contents.clean(call.tenant_id or "", resource)

    def check(self, call: Call, resource: Section, before: Section | None) -> None:
        """Refuse an unknown kind, and content that the schema of the kind does not allow."""
        if _says_something_else(resource, before):
            violations = self._contents.violations(call.tenant_id or "", resource)
            if violations:
                raise broken_rules(violations)


def _says_something_else(section: Section, before: Section | None) -> bool:
    return before is None or (section.kind, section.content) != (before.kind, before.content)
