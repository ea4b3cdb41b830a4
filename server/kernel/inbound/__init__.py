"""Calls from outside with bodies and signatures of their own: who signed them, and the routes that lead to a tenant."""

from server.kernel.inbound.hmacs import check_signed, check_timestamped
from server.kernel.inbound.routes import InboundRoutes, add_route, new_token, remove_routes
from server.kernel.inbound.signatures import BadSignature, InboundCall, InboundSignature, Sender

__all__ = [
    "BadSignature",
    "InboundCall",
    "InboundRoutes",
    "InboundSignature",
    "Sender",
    "add_route",
    "check_signed",
    "check_timestamped",
    "new_token",
    "remove_routes",
]
