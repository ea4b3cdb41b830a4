"""Dictionaries of a tenant."""

from collections.abc import Mapping
from typing import ClassVar

from plinth.dictionary.v1 import dictionary_pb2
from plinth.dictionary.v1.dictionary_pb2 import Dictionary
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Database, Scope, Transaction, WriteTransaction
from server.domains.dictionary.tables import dictionaries
from server.kernel.caching import Generations, TenantMemory
from server.kernel.messages import resource_type_of
from server.kernel.problems import not_found
from server.kernel.resources import ConversionPlan, EventFacts, Resource, Service

MOST = 50
REMEMBERED = 1_000
"""Tenants whose dictionaries a process remembers: some 100 bytes for each dictionary."""
TAG = "tenant:{tenant_id}:dictionaries"
_d = dictionaries.c
_is_one = (
    _d.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
    _d.id == bindparam("dictionary", type_=UUID(as_uuid=False)),
    _d.delete_time.is_(None),
)
LANGUAGES = Statement(
    select(_d.id, _d.language).where(
        _d.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)), _d.delete_time.is_(None)
    )
)
"""Takes `tenant`."""
DICTIONARY = Resource(
    Dictionary,
    dictionaries,
    filterable=("id", "key", "language", "create_time", "update_time"),
    sortable=("create_time", "key"),
    unique={"dictionaries_key_key": "key"},
    most=MOST,
)
PLAN = ConversionPlan(Dictionary, dictionaries, DICTIONARY.hidden, DICTIONARY.computed)
THE_DICTIONARY = Statement(select(*PLAN.columns).where(*_is_one))
"""Takes `tenant` and `dictionary`."""
KEEP = Statement(select(*PLAN.columns).where(*_is_one).with_for_update(read=True))
"""Takes the same. The dictionary cannot be deleted before the transaction ends."""
TYPE = resource_type_of(Dictionary)
IMPORTED = "dictionary.imported"


def the_dictionary(reads: Transaction, tenant_id: str, dictionary_id: str) -> Dictionary:
    """A dictionary that is not deleted. Raises NotFound."""
    return _found(reads, THE_DICTIONARY, tenant_id, dictionary_id)


def keep_dictionary(transaction: WriteTransaction, tenant_id: str, dictionary_id: str) -> None:
    """Let nobody delete a dictionary before the transaction ends. Raises NotFound."""
    _found(transaction, KEEP, tenant_id, dictionary_id)


def _found(reads: Transaction, statement: Statement, tenant_id: str, dictionary_id: str) -> Dictionary:
    result = reads.run(statement, tenant=tenant_id, dictionary=dictionary_id)
    if not result.returned:
        raise not_found(TYPE, dictionary_id)
    return PLAN.message(result.raw(0))


class DictionaryService(Service[Dictionary]):
    """Dictionaries. The kernel serves the standard methods."""

    events: ClassVar[Mapping[str, EventFacts]] = {
        IMPORTED: EventFacts(Dictionary, "An import has ended. Entries that it made have no events of their own.")
    }

    descriptor = dictionary_pb2.DESCRIPTOR.services_by_name["DictionaryService"]
    resource = DICTIONARY


class Languages:
    """The languages of the dictionaries that are not deleted, as a process remembers them."""

    def __init__(self, database: Database, generations: Generations) -> None:
        self._database = database
        self._known = TenantMemory(generations, TAG, self._read, most=REMEMBERED)

    def of(self, tenant_id: str) -> Mapping[str, str]:
        """The language of each dictionary of a tenant, by its id."""
        return self._known.of(tenant_id)

    def _read(self, tenant_id: str) -> Mapping[str, str]:
        with self._database.read(Scope(tenant_id=tenant_id)) as transaction:
            rows = transaction.run(LANGUAGES, tenant=tenant_id).all()
        return {row["id"]: row["language"] for row in rows}
