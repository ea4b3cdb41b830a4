"""Realtime: one stream for the events of all resources, and the tickets that open it."""

from server.domains.realtime.service import RealtimeService
from server.domains.realtime.tables import used_tickets
from server.domains.realtime.tickets import UsedTickets
from server.kernel.module import Expire, Foundation, Module, Platform, Serve
from server.kernel.ports import Offers
from server.kernel.roles import BUILT_IN_ROLES


def _offers(foundation: Foundation) -> Offers:
    return Offers(tickets=UsedTickets(foundation.database))


def _service(platform: Platform) -> RealtimeService:
    return RealtimeService(platform.live, platform.access_tokens)


MODULE = Module(
    "realtime",
    services=(Serve(RealtimeService, _service),),
    # What a stream shows is decided by the permissions to read.
    roles=dict.fromkeys(BUILT_IN_ROLES, ("realtime.events.read",)),
    offers=_offers,
    retention=(Expire(table=used_tickets, by="expire_time"),),
)
