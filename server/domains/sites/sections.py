"""Sections of the pages of a tenant's site."""

from plinth.sites.v1 import section_pb2
from plinth.sites.v1.section_pb2 import Section

from server.domains.sites.pages import PAGE
from server.domains.sites.tables import sections
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
