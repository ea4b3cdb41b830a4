"""Proposals of people who may not change entries."""

from plinth.dictionary.v1 import dictionary_proposal_pb2
from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry
from plinth.dictionary.v1.dictionary_proposal_pb2 import DictionaryProposal

from server.domains.dictionary.dictionaries import the_dictionary
from server.domains.dictionary.entries import PUBLISHED, DictionaryEntryService, derive, faults_of
from server.domains.dictionary.revisions import filled, written
from server.domains.dictionary.tables import dictionary_proposals
from server.kernel.call import Call
from server.kernel.problems import StateForbids, Violation, broken_rules, not_found
from server.kernel.resources import Resource, Service, States

MOST = 500
"""Proposals of one person that are there."""
PENDING = DictionaryProposal.STATE_PENDING
CREATED, UPDATED, SHOWN = ("dictionary_entry.created", "dictionary_entry.updated", "dictionary_entry.published")


class DictionaryProposalService(Service[DictionaryProposal]):
    """Proposals, and what becomes of them."""

    descriptor = dictionary_proposal_pb2.DESCRIPTOR.services_by_name["DictionaryProposalService"]
    resource = Resource(
        DictionaryProposal,
        dictionary_proposals,
        filterable=("id", "dictionary_id", "dictionary_entry_id", "state", "create_time", "update_time"),
        sortable=("create_time",),
        owner="user_id",
        seen_by="dictionary.proposals.manage",
        most=MOST,
        states=States(
            "state",
            first=(PENDING,),
            actions={
                "withdraw": ((PENDING,), DictionaryProposal.STATE_WITHDRAWN),
                "accept": ((PENDING,), DictionaryProposal.STATE_ACCEPTED),
                "reject": ((PENDING,), DictionaryProposal.STATE_REJECTED),
            },
        ),
    )

    def __init__(self, entries: DictionaryEntryService) -> None:
        super().__init__()
        self._entries = entries.rows

    def prepare(self, call: Call, resource: DictionaryProposal, before: DictionaryProposal | None) -> None:
        """Find what a new proposal is about, and keep what its author wrote."""
        if before is not None:
            return
        if resource.dictionary_entry_id:
            entry = self._entries.get(call, resource.dictionary_entry_id)
            if entry.state != PUBLISHED:
                raise not_found(self._entries.type, entry.id)
            resource.dictionary_id, resource.revision_number = entry.dictionary_id, entry.revision_number
        else:
            resource.dictionary_id = self._dictionary_of(call, resource.content)
        content = written(resource.content)
        derived = DictionaryEntry()
        derived.CopyFrom(content)
        derive(derived)
        violations = [
            Violation(each.field.replace("dictionary_entry.", f"{FIELD}.content.", 1), each.description, each.rule)
            for each in faults_of(derived)
        ]
        if violations:
            raise broken_rules(violations)
        resource.content.CopyFrom(content)

    # Custom methods ------------------------------------------------------------------------------------------------

    def accept_dictionary_proposal(
        self, call: Call, request: dictionary_proposal_pb2.AcceptDictionaryProposalRequest
    ) -> DictionaryProposal:
        """Do what a proposal says."""
        before = self.rows.lock(call, request.dictionary_proposal_id, etag=request.etag)
        after = self.rows.acted(before, "accept")
        if before.dictionary_entry_id:
            self._change(call, before)
        else:
            after.new_entry_id = self._create(call, before)
        return self.rows.update(call, after, before)

    def reject_dictionary_proposal(
        self, call: Call, request: dictionary_proposal_pb2.RejectDictionaryProposalRequest
    ) -> DictionaryProposal:
        """Reject a proposal."""
        before = self.rows.lock(call, request.dictionary_proposal_id, etag=request.etag)
        after = self.rows.acted(before, "reject")
        after.reason = request.reason
        return self.rows.update(call, after, before)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _dictionary_of(self, call: Call, content: DictionaryEntry) -> str:
        if not content.dictionary_id:
            raise broken_rules([Violation(f"{FIELD}.content.dictionary_id", "is required", "required")])
        return the_dictionary(call.reads, str(call.tenant_id), content.dictionary_id).id

    def _change(self, call: Call, proposal: DictionaryProposal) -> None:
        before = self._entries.lock(call, proposal.dictionary_entry_id)
        if before.revision_number != proposal.revision_number:
            metadata = {"resource_type": self.rows.type, "resource": proposal.id, "state": "OUTDATED"}
            raise StateForbids("The entry has changed since this was proposed.", metadata=metadata)
        stored = self._entries.update(call, filled(before, proposal.content), before)
        call.emit(UPDATED, stored.id, stored)

    def _create(self, call: Call, proposal: DictionaryProposal) -> str:
        new = filled(DictionaryEntry(dictionary_id=proposal.dictionary_id), proposal.content)
        draft = self._entries.insert(call, new)
        call.emit(CREATED, draft.id, draft)
        published = self._entries.copy_of(draft)
        published.state = PUBLISHED
        stored = self._entries.update(call, published, draft)
        call.emit(SHOWN, stored.id, stored)
        return stored.id


FIELD = "dictionary_proposal"
