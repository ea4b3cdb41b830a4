"""People: what is known of those who are told something, read for all of them at once."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar
from zoneinfo import ZoneInfo

from google.protobuf import json_format
from google.protobuf.message import Message
from plinth.notifications.v1.notification_preferences_pb2 import EmailDigest, NotificationRule, QuietHours
from sqlalchemy import ARRAY, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.data.transactions import WriteTransaction
from server.domains.notifications.pipeline import Person
from server.domains.notifications.tables import notification_devices, notification_preferences
from server.kernel.ports import Contact, Ports, TenantPreferences
from server.kernel.time_zones import is_time_zone

M = TypeVar("M", bound=Message)
_id = UUID(as_uuid=False)
_p, _d = notification_preferences.c, notification_devices.c
_tenant = bindparam("tenant", type_=_id)
_users = any_(bindparam("users", type_=ARRAY(_id)))
CHOSEN = Statement(
    select(_p.user_id, _p.rules, _p.quiet_hours, _p.email_digest).where(_p.tenant_id == _tenant, _p.id == _users)
)
"""Takes `tenant` and `users`."""
DEVICES = Statement(
    select(_d.user_id, func.array_agg(_d.id, type_=ARRAY(_id)).label("devices"))
    .where(_d.tenant_id == _tenant, _d.user_id == _users)
    .group_by(_d.user_id)
)
"""Takes `tenant` and `users`."""


class People:
    """Reads what is known of people."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def among(self, transaction: WriteTransaction, tenant_id: str, user_ids: Collection[str]) -> Mapping[str, Person]:
        """The members among these users. They cannot leave the tenant until the transaction ends."""
        asked = sorted(user_ids)
        members = self._ports.memberships.among(transaction, tenant_id, asked)
        chosen = {row["user_id"]: row for row in transaction.run(CHOSEN, tenant=tenant_id, users=asked).all()}
        devices = {row["user_id"]: row for row in transaction.run(DEVICES, tenant=tenant_id, users=asked).all()}
        contacts = self._ports.contacts.of(transaction, tenant_id, asked)
        house = self._ports.tenant_preferences(transaction, tenant_id)
        return {
            user_id: _person(
                chosen.get(user_id, {}),
                tuple(devices[user_id]["devices"]) if user_id in devices else (),
                contacts.get(user_id, NOBODY),
                house,
            )
            for user_id in members
        }


NOBODY = Contact(email="", language="", time_zone="")


def _person(chosen: Row, devices: Sequence[str], contact: Contact, house: TenantPreferences) -> Person:
    zone = next((name for name in (contact.time_zone, house.time_zone) if name and is_time_zone(name)), "UTC")
    return Person(
        is_member=True,
        rules=tuple(json_format.ParseDict(rule, NotificationRule()) for rule in chosen.get("rules") or ()),
        quiet_hours=_read(chosen.get("quiet_hours"), QuietHours()),
        email_digest=_read(chosen.get("email_digest"), EmailDigest()),
        email=contact.email,
        languages=tuple(name for name in (contact.language, house.language) if name),
        zone=ZoneInfo(zone),
        devices=tuple(devices),
    )


def _read(stored: Row | None, empty: M) -> M | None:
    return None if stored is None else json_format.ParseDict(stored, empty, ignore_unknown_fields=True)
