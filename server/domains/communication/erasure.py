"""Erasure of mail: what was sent to a person, by the address or by the account, is deleted."""

from sqlalchemy import bindparam, delete, literal_column, select, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.events import NO_TENANT
from server.data.statements import Statement
from server.domains.communication.suppressions import address_hash
from server.domains.communication.tables import email_messages, email_suppressions
from server.kernel.privacy import BATCH, Erasure

_c = email_messages.c
_id = UUID(as_uuid=False)
_address = bindparam("address", type_=_c.to_folded.type)
_person = bindparam("person", type_=_id)
OF_TENANT = Statement(
    delete(email_messages).where(
        _c.id.in_(
            select(_c.id).where(_c.tenant_id == bindparam("tenant", type_=_id), _c.to_folded == _address).limit(BATCH)
        )
    )
)
FORGET = Statement(
    update(email_suppressions)
    .where(
        email_suppressions.c.tenant_id == bindparam("tenant", type_=_id),
        email_suppressions.c.address_hash == bindparam("hash", type_=email_suppressions.c.address_hash.type),
        email_suppressions.c.address != literal_column("''"),
    )
    .values(address="", version=email_suppressions.c.version + literal_column("1"))
)
OF_ACCOUNT = Statement(delete(email_messages).where(_c.id.in_(select(_c.id).where(_c.user_id == _person).limit(BATCH))))


def erase_mail(erasure: Erasure) -> None:
    """Delete the messages in a tenant to the person's address, or those about the account, which have no tenant."""
    removed = BATCH
    while removed == BATCH:
        with erasure.batch() as transaction:
            if erasure.tenant_id == NO_TENANT:
                removed = transaction.run(OF_ACCOUNT, person=erasure.person.id).count
            else:
                address = erasure.person.email.lower()
                found = transaction.run(OF_TENANT, tenant=erasure.tenant_id, address=address) if address else None
                removed = found.count if found else 0
            erasure.note(removed, removed)


def forget_suppressed(erasure: Erasure) -> None:
    """Empty the address of suppressions. The hash stays, and keeps mail from the person as they have asked for."""
    address = erasure.person.email
    if address:
        with erasure.batch() as transaction:
            found = transaction.run(
                FORGET, tenant=erasure.tenant_id, hash=address_hash(erasure.tenant_id, address)
            ).count
            erasure.note(found, found)
