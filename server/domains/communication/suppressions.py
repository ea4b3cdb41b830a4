"""Suppressions: the rows of addresses that get no mail, and how one is made by what happens to a message."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from plinth.communication.v1.email_message_pb2 import EMAIL_CATEGORY_MARKETING, EMAIL_CATEGORY_UNSPECIFIED
from plinth.communication.v1.email_suppression_pb2 import EmailSuppression
from sqlalchemy import Boolean, bindparam, func, literal_column
from sqlalchemy.dialects.postgresql import insert

from server.data.statements import Row, Statement
from server.data.transactions import WriteTransaction
from server.domains.communication.tables import email_suppressions
from server.kernel.ids import new_id
from server.kernel.resources import ConversionPlan

MANUAL, BOUNCED, COMPLAINED, UNSUBSCRIBED = (
    EmailSuppression.REASON_MANUAL,
    EmailSuppression.REASON_BOUNCED,
    EmailSuppression.REASON_COMPLAINED,
    EmailSuppression.REASON_UNSUBSCRIBED,
)
CREATED = "email_suppression.created"
CATEGORIES: Mapping[int, int] = {
    BOUNCED: EMAIL_CATEGORY_UNSPECIFIED,
    COMPLAINED: EMAIL_CATEGORY_UNSPECIFIED,
    UNSUBSCRIBED: EMAIL_CATEGORY_MARKETING,
}
"""The mail that each reason keeps back."""
LIFETIMES: Mapping[int, timedelta] = {BOUNCED: timedelta(days=90)}
"""A mailbox may come into being later. What its owner has said stays."""
HIDDEN = ("address_hash",)
PLAN = ConversionPlan(EmailSuppression, email_suppressions, HIDDEN)
_c = email_suppressions.c
_ADDED = ("id", "tenant_id", "address", "address_hash", "category", "reason", "email_message_id", "expire_time")
_new = insert(email_suppressions).values({name: bindparam(name, type_=_c[name].type) for name in _ADDED})
# What has been said already stays as it is, but for its end.
SUPPRESS = Statement(
    _new.on_conflict_do_update(
        index_elements=[_c.tenant_id, _c.address_hash, _c.category, _c.reason],
        set_={
            "address": _new.excluded.address,
            "email_message_id": _new.excluded.email_message_id,
            "expire_time": _new.excluded.expire_time,
            "version": _c.version + literal_column("1"),
            "update_time": func.now(),
        },
        where=(_c.expire_time.is_not(None)) | (_c.address == literal_column("''")),
    ).returning(*PLAN.columns, literal_column("email_suppressions.version = 1", Boolean()).label("is_new"))
)


def address_hash(tenant_id: str, address: str) -> bytes:
    """SHA-256 of the tenant and the address without case. `queue.CLAIM` computes it too."""
    return hashlib.sha256(f"{tenant_id}:{address.lower()}".encode()).digest()


def suppress(transaction: WriteTransaction, message: Row, reason: int, now: datetime) -> EmailSuppression | None:
    """Suppress the address of a message. The suppression if it is a new one.

    `message` is a row with `id`, `tenant_id` and `to`. The scope of the transaction has to reach the tenant.
    """
    lifetime = LIFETIMES.get(reason)
    result = transaction.run(
        SUPPRESS,
        id=new_id(),
        tenant_id=message["tenant_id"],
        address=message["to"],
        address_hash=address_hash(message["tenant_id"], message["to"]),
        category=CATEGORIES[reason],
        reason=reason,
        email_message_id=message["id"],
        expire_time=now + lifetime if lifetime else None,
    )
    row = result.first()
    return PLAN.message(result.raw(0)) if row is not None and row["is_new"] else None
