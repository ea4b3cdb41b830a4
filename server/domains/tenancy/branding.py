"""Branding: the look of a tenant. Every tenant has exactly one."""

from google.protobuf.empty_pb2 import Empty
from plinth.tenancy.v1 import branding_pb2
from plinth.tenancy.v1.branding_pb2 import Branding

from server.domains.tenancy.tables import brandings
from server.kernel.call import Call
from server.kernel.resources import Resource, Service

DEFAULTS = {
    "primary_color": "#1f4e79",
    "secondary_color": "#f2f4f7",
    "accent_color": "#e07a1f",
    "heading_font": "Inter",
    "body_font": "Inter",
}


class BrandingService(Service[Branding]):
    """Branding."""

    descriptor = branding_pb2.DESCRIPTOR.services_by_name["BrandingService"]
    resource = Resource(Branding, brandings, singleton=True)

    def prepare(self, call: Call, resource: Branding, before: Branding | None) -> None:
        """Set cleared fields to their defaults."""
        del call, before
        for name, default in DEFAULTS.items():
            if not getattr(resource, name):
                setattr(resource, name, default)

    def delete_branding(self, call: Call, request: branding_pb2.DeleteBrandingRequest) -> Empty:
        """Reset everything to the defaults."""
        before = self.rows.lock(call, etag=request.etag)
        call.event_payload = self.rows.update(call, Branding(id=before.id), before)
        return Empty()
