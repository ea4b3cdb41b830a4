"""Telling people of events: each event is told once, however often it is handled."""

from google.protobuf import symbol_database
from google.protobuf.message import Message

from server.data.events import NO_TENANT, Event
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.notifications.event_workflows import EVENT_WORKFLOWS, EventWorkflow
from server.domains.notifications.telling import Teller, letters_to
from server.domains.notifications.texts import texts_of
from server.kernel.ids import is_id
from server.kernel.ports import Memberships

CAUSE = "notifications.tell_of_event"
_symbols = symbol_database.Default()


class EventTeller:
    """Tells people of a tenant what its events say."""

    def __init__(self, database: Database, memberships: Memberships, teller: Teller) -> None:
        self._database, self._memberships, self._teller = database, memberships, teller

    def handle(self, event: Event) -> None:
        """Tell them. Nothing happens to the events of no tenant."""
        if event.tenant_id == NO_TENANT:
            return
        chosen = EVENT_WORKFLOWS[event.type]
        payload = _payload_of(event)
        message = chosen.message(payload)
        message.workflow = chosen.workflow
        message.dedupe_key = f"event:{event.id}"
        with self._database.write(Scope(tenant_id=event.tenant_id)) as transaction:
            user_ids = self._recipients(transaction, event, chosen, payload)
            if not user_ids:
                return
            letters = letters_to(user_ids, message, texts_of(message))
            self._teller.tell_in_a_job(transaction, event.tenant_id, None, letters, CAUSE)

    def _recipients(
        self, transaction: WriteTransaction, event: Event, chosen: EventWorkflow, payload: Message
    ) -> list[str]:
        """The pipeline leaves out who is no member, such as an API key that owns an operation."""
        if chosen.roles:
            return self._memberships.with_roles(transaction, event.tenant_id, chosen.roles)
        user_id = str(getattr(payload, chosen.user_field))
        return [user_id] if is_id(user_id) else []


def _payload_of(event: Event) -> Message:
    kind: type[Message] = _symbols.GetSymbol(event.message_type)
    return kind.FromString(event.payload)
