"""Rows that not everyone sees who may read the resource: `Resource(shown=...)`, without an engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry, ListDictionaryEntriesRequest

from server import modules
from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.dictionary.dictionaries import DictionaryService
from server.domains.dictionary.entries import ENTRY, DictionaryEntryService
from server.domains.dictionary.proposals import DictionaryProposalService
from server.kernel.call import Access, Call
from server.kernel.messages.etags import etag_of
from server.kernel.module import Module, ModuleFault
from server.kernel.problems import NotFound
from server.kernel.queries import PageTokens
from server.kernel.resources import Hooks, Lister, Parent, Shown
from server.kernel.resources.convert import PlanFault
from server.kernel.resources.parents import ParentRows
from server.kernel.resources.resource import AnyHooks
from server.kernel.resources.rows import NOBODY, ResourceRows
from server.kernel.resources.service import narrowed_services, revealed_by, seen_by
from server.kernel.steps.cache import CachedMethod
from tests.kernel.calls import POLICIES, call

NONE: AnyHooks = Hooks()
DRAFT, PUBLISHED, ARCHIVED = (
    DictionaryEntry.STATE_DRAFT,
    DictionaryEntry.STATE_PUBLISHED,
    DictionaryEntry.STATE_ARCHIVED,
)
SEEN_BY, READ = "dictionary.entries.update", "dictionary.entries.read"
SERVICE = "plinth.dictionary.v1.DictionaryEntryService"
TENANT, ID, DICTIONARY = (f"01890000-0000-7000-8000-{number:012x}" for number in range(3))
CONDITION = b"dictionary_entries.state IN (3)"
ROWS: ResourceRows[DictionaryEntry] = ResourceRows(NONE, ENTRY)
LISTER = Lister(ROWS, PageTokens(b"k" * 32))


class Empty:
    """The result of a statement that finds nothing."""

    returned = count = 0

    def first(self) -> None:
        """No row."""

    def raw(self, row: int) -> list[None]:
        """The row of an empty list with its total."""
        del row
        return [None]

    def last_of_first(self) -> bytes:
        """The total."""
        return bytes(8)


class Recorder(WriteTransaction):
    """Finds nothing, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Statement] = []

    def run(self, statement: Statement, **parameters: object) -> Any:
        statement.encode(parameters)
        self.asked.append(statement)
        return Empty()

    def queue(self, statement: Statement, **parameters: object) -> None:
        self.run(statement, **parameters)


def call_of(*permissions: str, is_known: bool = True) -> tuple[Call, Recorder]:
    """A call of somebody with these permissions, or of somebody unknown."""
    one, reads = call(POLICIES[f"/{SERVICE}/GetDictionaryEntry"]), Recorder()
    one.tenant_id, one.transaction = TENANT, reads
    one.access = Access(TENANT, frozenset(permissions), (), None) if is_known else None
    return one, reads


# Declarations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("condition", "names the field `condition`, which the message does not have"),
        ("headword", "names `headword`, which holds a state: make it an enum"),
        ("etag", "names `etag`, and `dictionary_entries` has no column of that name: add one"),
    ],
)
def test_a_declaration_that_does_not_fit_keeps_the_server_from_starting(field: str, fault: str) -> None:
    with pytest.raises(PlanFault) as refused:
        ResourceRows(NONE, replace(ENTRY, shown=Shown(field, (PUBLISHED,))))
    assert str(refused.value) == f"Resource(shown=...) of plinth.dictionary.v1.DictionaryEntry {fault}"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ((), "is shown to everyone in no state: name some in Shown(values=...)"),
        ((PUBLISHED, 70), "is shown to everyone in the states [70], which `state` does not have"),
    ],
)
def test_what_is_shown_are_states_that_there_are(values: tuple[int, ...], fault: str) -> None:
    with pytest.raises(PlanFault) as refused:
        ResourceRows(NONE, replace(ENTRY, shown=Shown("state", values)))
    assert str(refused.value) == f"plinth.dictionary.v1.DictionaryEntry {fault}"


class Unseen(DictionaryEntryService):
    """Nobody sees its drafts."""

    resource = replace(ENTRY, seen_by="")


class Elsewhere(DictionaryEntryService):
    """Its drafts are seen with a permission of another domain."""

    resource = replace(ENTRY, seen_by="sites.pages.update")


@pytest.mark.parametrize("service", [Unseen, Elsewhere])
def test_what_is_not_shown_is_seen_with_a_permission_of_the_domain(service: type[DictionaryEntryService]) -> None:
    named = service.resource.seen_by
    with pytest.raises(ModuleFault) as refused:
        modules.check([Module("dictionary", services=(service,))], b"")
    [fault] = refused.value.faults
    assert fault.startswith(f"{service.__name__}.resource is not seen by everyone, and `{named}` is no permission of ")


def test_a_service_is_narrowed_by_the_permission_alone() -> None:
    services = (DictionaryService, DictionaryEntryService, DictionaryProposalService)
    assert ENTRY.is_narrowed
    assert not DictionaryService.resource.is_narrowed
    # Each caller has proposals of their own.
    owned = "plinth.dictionary.v1.DictionaryProposalService"
    assert narrowed_services(services) == {SERVICE: SEEN_BY, owned: ""}
    assert "DictionaryEntryService.GetDictionaryEntry" in seen_by(services)[SEEN_BY]
    revealed = revealed_by(services)
    assert revealed["dictionary_entry.updated"] == revealed["dictionary_entry.archived"] == SEEN_BY
    assert "dictionary.updated" not in revealed


def test_those_with_the_permission_share_what_is_cached_and_so_do_those_without() -> None:
    policy = POLICIES[f"/{SERVICE}/GetDictionaryEntry"]
    cached = CachedMethod.of(policy, 3600.0, narrowed_services([DictionaryEntryService]))
    assert policy.cache_seconds
    viewer, other, editor, another = (
        cached.reader(caller, permissions)
        for caller, permissions in (("a", {READ}), ("b", {READ, "x"}), ("c", {READ, SEEN_BY}), ("d", {SEEN_BY}))
    )
    assert viewer == other != editor == another


# Reading -------------------------------------------------------------------------------------------------------------


@contextmanager
def absent() -> Iterator[None]:
    """What is asked for is not there."""
    with pytest.raises(NotFound) as refused:
        yield
    assert refused.value.metadata["resource"] == ID


def get(one: Call) -> None:
    with absent():
        ROWS.get(one, ID)


def batch_get(one: Call) -> None:
    with absent():
        ROWS.batch_get(one, [ID])


def lock(one: Call) -> None:
    with absent():
        ROWS.lock(one, ID)


def lock_deleted(one: Call) -> None:
    with absent():
        ROWS.lock(one, ID, deleted=True)


def lock_all(one: Call) -> None:
    assert ROWS.lock_all(one, [ID]) == {}


def list_all(one: Call) -> None:
    assert LISTER.page(one, ListDictionaryEntriesRequest()) == ([], "", None)


def list_within(one: Call) -> None:
    # Nothing in it, so that the dictionary is looked for.
    with pytest.raises(NotFound) as refused:
        LISTER.page(one, ListDictionaryEntriesRequest(dictionary_id=DICTIONARY, show_deleted=True))
    assert refused.value.metadata["resource"] == DICTIONARY


def count_all(one: Call) -> None:
    assert LISTER.page(one, ListDictionaryEntriesRequest(include_total=True)) == ([], "", 0)


READS: tuple[Callable[[Call], None], ...] = (
    *(get, batch_get, lock, lock_deleted, lock_all),
    *(list_all, list_within, count_all),
)


@pytest.mark.parametrize("read", READS)
def test_who_lacks_the_permission_reaches_what_is_shown(read: Callable[[Call], None]) -> None:
    """The rest is as if it were not there, to read, to count and to change."""
    for one, reads in (call_of(READ), call_of(), call_of(is_known=False)):
        read(one)
        sql = reads.asked[0].sql
        assert sql.count(CONDITION) == sql.count(b"dictionary_entries.tenant_id = ") > 0


@pytest.mark.parametrize("read", READS)
def test_who_holds_the_permission_reaches_everything(read: Callable[[Call], None]) -> None:
    one, reads = call_of(SEEN_BY)
    read(one)
    assert b"dictionary_entries.tenant_id = " in reads.asked[0].sql
    assert b"dictionary_entries.state IN" not in reads.asked[0].sql


def test_several_states_may_be_shown() -> None:
    rows: ResourceRows[DictionaryEntry] = ResourceRows(
        NONE, replace(ENTRY, shown=Shown("state", (PUBLISHED, ARCHIVED)))
    )
    one, reads = call_of(READ)
    with absent():
        rows.get(one, ID)
    assert b"dictionary_entries.state IN (3, 4)" in reads.asked[0].sql


@pytest.mark.parametrize("excluding", [False, True])
def test_a_new_child_needs_a_parent_that_the_caller_sees(*, excluding: bool) -> None:
    parents = ParentRows(Parent("dictionary_entry_id", ENTRY))
    one, _ = call_of(READ)
    statement, _ = parents.locking(one, ID, excluding=excluding)
    assert CONDITION in statement.sql


# Events --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "audience"),
    [
        (None, DRAFT, NOBODY),
        (None, PUBLISHED, None),
        (DRAFT, DRAFT, NOBODY),
        (DRAFT, PUBLISHED, None),
        (PUBLISHED, PUBLISHED, None),
        # Who saw it has to know that it is gone.
        (PUBLISHED, ARCHIVED, None),
        (ARCHIVED, ARCHIVED, NOBODY),
    ],
)
def test_events_are_for_those_who_see_it_or_saw_it(
    before: DictionaryEntry.State | None, after: DictionaryEntry.State, audience: str | None
) -> None:
    one, _ = call_of(SEEN_BY)
    known = None if before is None else DictionaryEntry(state=before)
    ROWS.note_readers(one, DictionaryEntry(state=after), known)
    assert one.audience == audience


@pytest.mark.parametrize(
    ("before", "after", "audience"), [(DRAFT, DRAFT, NOBODY), (DRAFT, PUBLISHED, None), (PUBLISHED, ARCHIVED, None)]
)
def test_an_update_tells_both(
    before: DictionaryEntry.State, after: DictionaryEntry.State, audience: str | None
) -> None:
    one, _ = call_of(SEEN_BY)
    known = DictionaryEntry(id=ID, dictionary_id=DICTIONARY, headword="a", state=before, etag=etag_of(ID, 1))
    changed = ROWS.copy_of(known)
    changed.state, changed.headword = after, "b"
    stored = ROWS.update(one, changed, known)
    assert (stored.headword, one.audience) == ("b", audience)
