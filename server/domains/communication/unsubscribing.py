"""Unsubscribing: the page that the link in a message leads to, and what mail programs do with one click (RFC 8058)."""

from html import escape

from google.api.httpbody_pb2 import HttpBody
from plinth.communication.v1 import unsubscribe_pb2
from sqlalchemy import Text, bindparam, select

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.domains.communication.suppressions import UNSUBSCRIBED, suppress
from server.domains.communication.tables import email_messages
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.ports import Memberships
from server.kernel.resources import Service

NOT_FOUND = 404
# The tenant of a message is not known before it is found.
EVERYWHERE = Scope(platform=True)
_c = email_messages.c
BY_TOKEN = Statement(
    select(_c.id, _c.tenant_id, _c.to).where(_c.token == bindparam("token", type_=Text()), _c.tenant_id.is_not(None))
)
_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>Unsubscribe</title></head>
<body><main><h1>{title}</h1>
{body}
</main></body></html>
"""
_FORM = """\
<p>Do you want no more offers and newsletters from {sender} at {address}?</p>
<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">
<button type="submit">Unsubscribe</button></form>"""
_DONE = "<p>{sender} sends no more offers and newsletters to {address}. What you ask for is still answered.</p>"
_UNKNOWN = "<p>This link is too old, or not complete. Follow the link in a newer message.</p>"


class UnsubscribeService(Service):
    """Unsubscribing."""

    descriptor = unsubscribe_pb2.DESCRIPTOR.services_by_name["UnsubscribeService"]

    def __init__(self, database: Database, memberships: Memberships, clock: Clock) -> None:
        super().__init__()
        self._database = database
        self._memberships = memberships
        self._clock = clock

    def get_unsubscribe_page(self, call: Call, request: unsubscribe_pb2.GetUnsubscribePageRequest) -> HttpBody:
        """The page that asks."""
        with self._database.read(EVERYWHERE) as transaction:
            message = transaction.run(BY_TOKEN, token=request.token).first()
            place = self._memberships.place(transaction, message["tenant_id"]) if message else None
        if message is None or place is None:
            return _unknown(call)
        return _page("Unsubscribe", _FORM, message, place)

    def unsubscribe(self, call: Call, request: unsubscribe_pb2.UnsubscribeRequest) -> HttpBody:
        """Suppress the address for marketing."""
        call.writes.bind(EVERYWHERE)
        message = call.writes.run(BY_TOKEN, token=request.token).first()
        place = self._memberships.place(call.writes, message["tenant_id"]) if message else None
        if message is None or place is None:
            call.changes_nothing = True
            return _unknown(call)
        call.tenant_id = message["tenant_id"]
        call.writes.bind(Scope(tenant_id=message["tenant_id"]))
        made = suppress(call.writes, message, UNSUBSCRIBED, self._clock())
        if made is None:
            call.changes_nothing = True
        else:
            call.note_change(None, made)
            call.event_payload = made
        return _page("Unsubscribed", _DONE, message, place)


def masked(address: str) -> str:
    """An address as its owner recognises it, and somebody to whom the message was forwarded does not learn it."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}\N{HORIZONTAL ELLIPSIS}@{domain}"


def _unknown(call: Call) -> HttpBody:
    call.http_status = NOT_FOUND
    return _html(_PAGE.format(title="Unsubscribe", body=_UNKNOWN))


def _page(title: str, body: str, message: Row, place: Row) -> HttpBody:
    told = body.format(sender=escape(place["name"]), address=escape(masked(message["to"])))
    return _html(_PAGE.format(title=title, body=told))


def _html(text: str) -> HttpBody:
    return HttpBody(content_type="text/html; charset=utf-8", data=text.encode())
