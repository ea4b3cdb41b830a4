"""Rows that people own and everyone is shown in some states, and what belongs to them, without an engine."""

from dataclasses import replace

import pytest
from plinth.dictionary.v1.dictionary_proposal_pb2 import DictionaryProposal, ListDictionaryProposalsRequest
from plinth.dictionary.v1.dictionary_revision_pb2 import DictionaryRevision, GetDictionaryRevisionRequest

from server.domains.dictionary.entries import ENTRY, REVISION
from server.domains.dictionary.proposals import DictionaryProposalService
from server.domains.dictionary.tables import dictionary_revisions
from server.kernel.call import Call, Principal
from server.kernel.problems import Denied, NotFound, Reason
from server.kernel.queries import PageTokens
from server.kernel.resources import Lister, Parent, Shown
from server.kernel.resources.parents import ParentRows
from server.kernel.resources.rows import ResourceRows
from tests.kernel.test_shown import ID, NONE, TENANT, Recorder, call_of

PENDING, ACCEPTED = DictionaryProposal.STATE_PENDING, DictionaryProposal.STATE_ACCEPTED
SEEN_BY = "dictionary.proposals.manage"
USER, OTHER = (f"01890000-0000-7000-8000-00000000000{digit}" for digit in "ab")
PROPOSAL = replace(DictionaryProposalService.resource, shown=Shown("state", (ACCEPTED,)))
ROWS: ResourceRows[DictionaryProposal] = ResourceRows(NONE, PROPOSAL)
LISTER = Lister(ROWS, PageTokens(b"k" * 32))
SHOWN, OWN = b"dictionary_proposals.state IN (2)", b"dictionary_proposals.user_id = "
EITHER = b"(%s OR %s" % (SHOWN, OWN)


def caller(*permissions: str, user_id: str = USER) -> tuple[Call, Recorder]:
    """A person, or without a user's id an API key."""
    one, reads = call_of(*permissions)
    one.principal = Principal(
        user_id, "", TENANT, (), is_platform=False, expires_at=0.0, api_key_id="" if user_id else ID
    )
    return one, reads


def test_a_person_sees_what_is_shown_and_their_own() -> None:
    one, reads = caller()
    with pytest.raises(NotFound):
        ROWS.get(one, ID)
    LISTER.page(one, ListDictionaryProposalsRequest())
    assert all(EITHER in each.sql for each in reads.asked)
    assert len(reads.asked) == 2


def test_a_key_owns_nothing_and_sees_what_is_shown() -> None:
    one, reads = caller(user_id="")
    with pytest.raises(NotFound):
        ROWS.get(one, ID)
    LISTER.page(one, ListDictionaryProposalsRequest())
    assert all(SHOWN in each.sql and OWN not in each.sql for each in reads.asked)


def test_a_list_may_be_of_one_person() -> None:
    one, reads = caller()
    LISTER.page(one, ListDictionaryProposalsRequest(user_id=OTHER))
    [asked] = reads.asked
    # As far as the caller sees them.
    assert EITHER in asked.sql
    assert asked.sql.count(OWN) == 2


def test_a_person_changes_their_own_alone() -> None:
    one, reads = caller()
    with pytest.raises(NotFound):
        ROWS.lock(one, ID)
    ROWS.lock_all(one, [ID])
    locked, seen, several = reads.asked
    assert OWN in locked.sql
    assert SHOWN not in locked.sql
    # Whether it is there tells what to answer.
    assert EITHER in seen.sql
    assert SHOWN not in several.sql


def test_who_sees_what_others_own_is_told_that_it_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = caller()
    monkeypatch.setattr(ROWS, "get", lambda *_: DictionaryProposal(state=ACCEPTED))
    with pytest.raises(Denied) as refused:
        ROWS.lock(one, ID)
    assert refused.value.metadata == {"permission": SEEN_BY}


def test_a_key_changes_nothing_that_people_own() -> None:
    one, _ = caller(user_id="")
    with pytest.raises(Denied) as refused:
        ROWS.lock(one, ID)
    assert refused.value.reason == Reason.REASON_USER_REQUIRED


def test_who_holds_the_permission_sees_and_changes_everything() -> None:
    one, reads = caller(SEEN_BY)
    with pytest.raises(NotFound):
        ROWS.get(one, ID)
    with pytest.raises(NotFound):
        ROWS.lock(one, ID)
    assert all(SHOWN not in each.sql and OWN not in each.sql for each in reads.asked)


@pytest.mark.parametrize(
    ("before", "after", "audience"),
    [(None, PENDING, USER), (None, ACCEPTED, None), (PENDING, ACCEPTED, None), (ACCEPTED, PENDING, None)],
)
def test_events_are_for_everyone_or_the_owner(
    before: DictionaryProposal.State | None, after: DictionaryProposal.State, audience: str | None
) -> None:
    one, _ = caller()
    known = None if before is None else DictionaryProposal(user_id=USER, state=before)
    ROWS.note_readers(one, DictionaryProposal(user_id=USER, state=after), known)
    assert one.audience == audience


# What belongs to them ------------------------------------------------------------------------------------------------

# Columns that hold ids serve for any parent here.
PRIVATE, OPEN = (Parent("dictionary_entry_id", PROPOSAL, is_open=is_open) for is_open in (False, True))
ABOVE = b"EXISTS (SELECT * \nFROM dictionary_proposals \nWHERE dictionary_proposals.tenant_id = "


def children(parent: Parent) -> ResourceRows[DictionaryRevision]:
    """Rows that belong to what is shown to everyone in part."""
    return ResourceRows(NONE, replace(REVISION, parent=parent))


def asked_of(parent: Parent, *permissions: str, user_id: str = USER, inside: bool = False) -> bytes:
    """The statement that reads one of them."""
    one, reads = caller(*permissions, user_id=user_id)
    request = GetDictionaryRevisionRequest(dictionary_entry_id=ID) if inside else None
    with pytest.raises(NotFound):
        children(parent).get(one, ID, request)
    return reads.asked[0].sql


@pytest.mark.parametrize("parent", [PRIVATE, OPEN])
def test_what_belongs_to_it_is_seen_with_it(parent: Parent) -> None:
    assert ABOVE in asked_of(parent)
    assert ABOVE in asked_of(parent, user_id="")
    assert SHOWN in asked_of(parent, user_id="")
    assert OWN not in asked_of(parent, user_id="")
    assert ABOVE not in asked_of(parent, SEEN_BY)


def test_the_parent_of_a_request_is_looked_at_once() -> None:
    """Not once for each row."""
    column = f"{dictionary_revisions.name}.dictionary_entry_id".encode()
    assert b"dictionary_proposals.id = " + column in asked_of(PRIVATE)
    assert b"dictionary_proposals.id = " + column not in asked_of(PRIVATE, inside=True)


def test_only_its_owner_adds_to_it_unless_it_is_open() -> None:
    one, _ = caller()
    closed, _ = ParentRows(PRIVATE).locking(one, ID, excluding=False)
    assert OWN in closed.sql
    assert SHOWN not in closed.sql
    opened, _ = ParentRows(OPEN).locking(one, ID, excluding=False)
    assert EITHER in opened.sql
    key, _ = caller(user_id="")
    with pytest.raises(Denied):
        ParentRows(PRIVATE).locking(key, ID, excluding=False)


def test_the_owner_of_an_open_parent_sees_all_that_others_added_and_changes_none_of_it() -> None:
    above = replace(ENTRY, owner="dictionary_id")
    added = replace(PROPOSAL, parent=Parent("dictionary_entry_id", above, is_open=True))
    rows: ResourceRows[DictionaryProposal] = ResourceRows(NONE, added)
    one, reads = caller()
    with pytest.raises(NotFound):
        rows.get(one, ID)
    with pytest.raises(NotFound):
        rows.lock(one, ID)
    seen, locked, _ = reads.asked
    # One way for what is shown or the caller's own, one for the owner of what it belongs to.
    parent = b"FROM dictionary_entries"
    assert seen.sql.count(parent) == 2
    assert locked.sql.count(parent) == 1
    assert SHOWN in seen.sql
    assert SHOWN not in locked.sql
    assert OWN in locked.sql
