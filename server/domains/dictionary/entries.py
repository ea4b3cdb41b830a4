"""Entries of dictionaries, from a draft to what everyone sees."""

import random
from collections import Counter
from collections.abc import Sequence

from plinth.dictionary.v1 import dictionary_entry_pb2, dictionary_revision_pb2
from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry, ListRelatedEntriesResponse
from plinth.dictionary.v1.dictionary_revision_pb2 import DictionaryRevision

from server.data.statements import Row
from server.domains.dictionary.dictionaries import DICTIONARY, LANGUAGES, Languages
from server.domains.dictionary.languages import kept_letters, wholes
from server.domains.dictionary.relations import keep_relations, related_to, unknown_relations
from server.domains.dictionary.revisions import filled, keep_revision, says_the_same
from server.domains.dictionary.tables import dictionary_entries, dictionary_revisions
from server.domains.dictionary.term_rows import Change, keep_terms
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.ids import new_id
from server.kernel.problems import StateForbids, Violation, broken_rules
from server.kernel.queries import OrderTerm
from server.kernel.resources import Hooks, Parent, ReadRows, Resource, Service, Shown, States

DRAFT, IN_REVIEW = DictionaryEntry.STATE_DRAFT, DictionaryEntry.STATE_IN_REVIEW
PUBLISHED, ARCHIVED = DictionaryEntry.STATE_PUBLISHED, DictionaryEntry.STATE_ARCHIVED
ENTRY = Resource(
    DictionaryEntry,
    dictionary_entries,
    filterable=(
        *("id", "dictionary_id", "headword", "sort_key", "language", "part_of_speech", "state", "frequency"),
        *("source", "licence", "create_time", "update_time", "publish_time"),
    ),
    sortable=("sort_key", "frequency", "create_time", "update_time"),
    default_order=(OrderTerm("sort_key", descending=False),),
    unique={"dictionary_entries_headword_key": "headword"},
    hidden=("random_key",),
    parent=Parent("dictionary_id", DICTIONARY),
    shown=Shown("state", (PUBLISHED,)),
    seen_by="dictionary.entries.update",
    states=States(
        "state",
        first=(DRAFT,),
        actions={
            "submit": ((DRAFT,), IN_REVIEW),
            "return": ((IN_REVIEW,), DRAFT),
            "publish": ((DRAFT, IN_REVIEW, ARCHIVED), PUBLISHED),
            "archive": ((PUBLISHED,), ARCHIVED),
        },
    ),
)

REVISION = Resource(
    DictionaryRevision,
    dictionary_revisions,
    filterable=("id", "number", "create_time", "update_time"),
    sortable=("number",),
    default_order=(OrderTerm("number", descending=True),),
    parent=Parent("dictionary_entry_id", ENTRY),
)


class DictionaryEntryService(Service[DictionaryEntry]):
    """Entries, their states, and what they are related to."""

    descriptor = dictionary_entry_pb2.DESCRIPTOR.services_by_name["DictionaryEntryService"]
    resource = ENTRY

    def __init__(self, languages: Languages, clock: Clock = utc_now) -> None:
        super().__init__()
        self._languages, self._clock = languages, clock
        self._revisions = ReadRows(Hooks(), REVISION)

    # Hooks ---------------------------------------------------------------------------------------------------------

    def prepare(self, call: Call, resource: DictionaryEntry, before: DictionaryEntry | None) -> None:
        """Derive what is compared and counted, and give new senses their ids."""
        if before is None:
            resource.language = self._language(call, resource.dictionary_id)
            resource.revision_number = 0
        elif not says_the_same(before, resource):
            resource.revision_number = before.revision_number + 1
        derive(resource)
        if resource.state == PUBLISHED and (before is None or before.state != PUBLISHED):
            resource.publish_time.FromDatetime(self._clock())
        if resource.state != DRAFT:
            resource.return_reason = ""

    def check(self, call: Call, resource: DictionaryEntry, before: DictionaryEntry | None) -> None:
        """Refuse what does not fit together: senses with one id, relations to nothing, an empty published entry."""
        violations = faults_of(resource)
        if before is None or before.senses != resource.senses:
            violations += unknown_relations(call.reads, str(call.tenant_id), resource)
        if resource.state == PUBLISHED and not is_complete(resource):
            if before is None or before.state != PUBLISHED:
                raise StateForbids(
                    "It has no sense with a definition or a translation.",
                    metadata={"resource_type": self.rows.type, "resource": resource.id, "state": "INCOMPLETE"},
                )
            violations.append(INCOMPLETE)
        if violations:
            raise broken_rules(violations)

    def before_write(self, call: Call, values: Row, before: DictionaryEntry | None) -> None:
        """Draw the number by which a new entry is chosen by chance."""
        del call
        if before is None:
            values["random_key"] = random.random()  # noqa: S311 - for variety

    def after_write(self, call: Call, resource: DictionaryEntry, before: DictionaryEntry | None) -> None:
        """Let searches find it, and keep what it said before."""
        tenant_id = str(call.tenant_id)
        keep_terms(call.writes, tenant_id, [Change(before, resource)])
        if before is None or before.senses != resource.senses:
            keep_relations(call.writes, tenant_id, [resource])
        if before is not None and before.revision_number != resource.revision_number:
            keep_revision(call.writes, tenant_id, before)

    # Custom methods ------------------------------------------------------------------------------------------------

    def return_dictionary_entry(
        self, call: Call, request: dictionary_entry_pb2.ReturnDictionaryEntryRequest
    ) -> DictionaryEntry:
        """Return an entry from review."""
        before = self.rows.lock(call, request.dictionary_entry_id, etag=request.etag)
        after = self.rows.acted(before, "return")
        after.return_reason = request.reason
        return self.rows.update(call, after, before)

    def restore_dictionary_revision(
        self, call: Call, request: dictionary_entry_pb2.RestoreDictionaryRevisionRequest
    ) -> DictionaryEntry:
        """Make an entry say what it said."""
        revision = self._revisions.get(call, request.dictionary_revision_id, request)
        before = self.rows.lock(call, request.dictionary_entry_id, etag=request.etag)
        return self.rows.update(call, filled(before, revision.content), before)

    def list_related_entries(
        self, call: Call, request: dictionary_entry_pb2.ListRelatedEntriesRequest
    ) -> ListRelatedEntriesResponse:
        """What an entry is related to."""
        entry = self.rows.get(call, request.dictionary_entry_id)
        found = related_to(call.reads, str(call.tenant_id), entry, published_only=not self.rows.sees_all(call))
        return ListRelatedEntriesResponse(related_entries=found)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _language(self, call: Call, dictionary_id: str) -> str:
        """The language of a dictionary that is there."""
        known = self._languages.of(str(call.tenant_id)).get(dictionary_id)
        if known is None:
            # Restored by a call that has just committed.
            rows = call.reads.run(LANGUAGES, tenant=call.tenant_id).all()
            known = next(str(row["language"]) for row in rows if row["id"] == dictionary_id)
        return known


class DictionaryRevisionService(Service[DictionaryRevision]):
    """Revisions. The kernel reads them; changes of entries make them."""

    descriptor = dictionary_revision_pb2.DESCRIPTOR.services_by_name["DictionaryRevisionService"]
    resource = REVISION


INCOMPLETE = Violation(
    "dictionary_entry.senses", "has a definition or a translation once it is published", "entry.complete"
)


def derive(entry: DictionaryEntry) -> None:
    """Fill in what is derived from the other fields. New senses get ids."""
    entry.sort_key = wholes(entry.headword, kept_letters(entry.language))[0]
    for sense in entry.senses:
        sense.id = sense.id.lower() or new_id()


def is_complete(entry: DictionaryEntry) -> bool:
    """Whether an entry says what its headword means."""
    return any(sense.definitions or sense.translations for sense in entry.senses)


def faults_of(entry: DictionaryEntry) -> list[Violation]:
    """What is wrong in an entry by itself."""
    counts = Counter(sense.id.lower() for sense in entry.senses)
    twice = [
        Violation(f"dictionary_entry.senses[{place}].id", "is that of another sense too", "sense.id")
        for place, sense in enumerate(entry.senses)
        if sense.id and counts[sense.id.lower()] > 1
    ]
    return [*twice, *_faults_of_relations(entry)]


def _faults_of_relations(entry: DictionaryEntry) -> Sequence[Violation]:
    return [
        Violation(
            f"dictionary_entry.senses[{place}].relations[{number}]",
            "names either an entry or a text",
            "relation.one",
        )
        for place, sense in enumerate(entry.senses)
        for number, relation in enumerate(sense.relations)
        if bool(relation.related_entry_id) == bool(relation.text)
        or (relation.related_sense_id and not relation.related_entry_id)
    ]
