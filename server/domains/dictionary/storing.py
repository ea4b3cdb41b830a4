"""Storing many entries at once, as imports do: what is new is inserted, what is there is left or replaced."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry, Sense
from plinth.dictionary.v1.dictionary_pb2 import Dictionary
from sqlalchemy import ARRAY, Integer, Text, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnyExpression
from server.data.statements import Row, Statement
from server.data.transactions import WriteTransaction
from server.domains.dictionary.dictionaries import keep_dictionary
from server.domains.dictionary.entries import DRAFT, ENTRY, PUBLISHED, derive, is_complete
from server.domains.dictionary.relations import is_known, keep_relations, senses_named_by
from server.domains.dictionary.revisions import WRITTEN, filled, keep_revision, says_the_same
from server.domains.dictionary.tables import dictionary_entries
from server.domains.dictionary.term_rows import Change, keep_terms
from server.kernel.ids import new_id
from server.kernel.problems import RuleViolated
from server.kernel.resources import ConversionPlan

PLAN = ConversionPlan(DictionaryEntry, dictionary_entries, ENTRY.hidden, ENTRY.computed)
_id = UUID(as_uuid=False)
_e = dictionary_entries.c
_DERIVED = ("sort_key", "state", "revision_number", "publish_time")
_NEW = ("id", "tenant_id", "dictionary_id", "language", "random_key", *WRITTEN, *_DERIVED)
_asked = (
    func.unnest(
        bindparam("headwords", type_=ARRAY(Text())),
        bindparam("parts", type_=ARRAY(Text())),
        bindparam("numbers", type_=ARRAY(Integer())),
    )
    .table_valued("headword", "part_of_speech", "homograph_number")
    .render_derived("asked")
)
THERE = Statement(
    select(*PLAN.columns)
    .join(
        _asked,
        (_e.headword == _asked.c.headword)
        & (_e.part_of_speech == _asked.c.part_of_speech)
        & (_e.homograph_number == _asked.c.homograph_number),
    )
    .where(
        _e.tenant_id == bindparam("tenant", type_=_id),
        _e.dictionary_id == bindparam("dictionary", type_=_id),
        _e.delete_time.is_(None),
    )
    .order_by(_e.id)
    .with_for_update(of=dictionary_entries, key_share=True)
)
"""Takes `tenant`, `dictionary`, and three lists of equal length."""


def _named(names: Sequence[str]) -> dict[str, AnyExpression]:
    return {name: bindparam(f"new_{name}", type_=_e[name].type) for name in names}


INSERT = Statement(lambda: insert(dictionary_entries).values(_named(_NEW)))
REPLACE = Statement(
    lambda: (
        update(dictionary_entries)
        .where(_e.tenant_id == bindparam("new_tenant_id", type_=_id), _e.id == bindparam("new_id", type_=_id))
        .values(**_named((*WRITTEN, *_DERIVED)), version=_e.version + text("1"), update_time=func.now())
    )
)
Key = tuple[str, str, int]
INCOMPLETE = "senses has no definition and no translation"


@dataclass
class Stored:
    """What became of entries."""

    created: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: int = 0
    """Those that were there."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Their places among what was to be stored, each with the reason."""


class EntryStore:
    """Stores the entries of one dictionary."""

    def __init__(self, tenant_id: str, dictionary: Dictionary, *, replaces: bool, publishes: bool) -> None:
        self._tenant_id, self._dictionary_id, self._language = tenant_id, dictionary.id, dictionary.language
        self._replaces, self._publishes = replaces, publishes

    def store(self, transaction: WriteTransaction, entries: Sequence[DictionaryEntry], now: datetime) -> Stored:
        """Store entries whose rules were checked. Of several with the same key, the last counts if it replaces others.

        Otherwise the first one does. Raises NotFound if the dictionary is deleted.
        """
        keep_dictionary(transaction, self._tenant_id, self._dictionary_id)
        stored = Stored()
        there = self._there(transaction, entries)
        senses = senses_named_by(transaction, self._tenant_id, entries)
        # In their order, so that exports have homographs as they came.
        ids = iter(sorted(new_id() for _ in entries))
        made: list[Change] = []
        for place in self._counting(entries, there, stored):
            entry, before = entries[place], there.get(key_of(entries[place]))
            if before is not None and not self._replaces:
                stored.skipped += 1
                continue
            _drop_unknown(entry, senses)
            after = self._made(next(ids), entry, before, now)
            if before is not None and says_the_same(before, after):
                stored.unchanged += 1
                continue
            try:
                values = {"id": after.id} | PLAN.values(after)
            except RuleViolated as refused:
                faults = "; ".join(f"{each.field} {each.description}" for each in refused.violations)
                stored.refused.append((place, faults))
                continue
            self._write(transaction, before, values)
            made.append(Change(before, after))
        stored.created = sum(1 for change in made if change.before is None)
        stored.replaced = len(made) - stored.created
        self._keep(transaction, made)
        return stored

    def _counting(
        self, entries: Sequence[DictionaryEntry], there: Mapping[Key, DictionaryEntry], stored: Stored
    ) -> list[int]:
        """The places of the entries that count. Those that may not be published are refused, the others skipped."""
        counting: dict[Key, int] = {}
        for place, entry in enumerate(entries):
            key = key_of(entry)
            if not is_complete(entry) and self._would_be_public(there.get(key)):
                stored.refused.append((place, INCOMPLETE))
            elif self._replaces or key not in counting:
                stored.skipped += key in counting
                counting[key] = place
            else:
                stored.skipped += 1
        return sorted(counting.values())

    def _would_be_public(self, before: DictionaryEntry | None) -> bool:
        """Whether an entry would be published in the place of another one, or as a new one."""
        if before is None:
            return self._publishes
        return self._replaces and (before.state == PUBLISHED or (self._publishes and before.state == DRAFT))

    def _there(self, transaction: WriteTransaction, entries: Sequence[DictionaryEntry]) -> dict[Key, DictionaryEntry]:
        keys = [key_of(entry) for entry in entries]
        result = transaction.run(
            THERE,
            tenant=self._tenant_id,
            dictionary=self._dictionary_id,
            headwords=[headword for headword, _, _ in keys],
            parts=[part for _, part, _ in keys],
            numbers=[number for _, _, number in keys],
        )
        return {key_of(entry): entry for entry in PLAN.messages(result)}

    def _made(self, new: str, entry: DictionaryEntry, before: DictionaryEntry | None, now: datetime) -> DictionaryEntry:
        """The entry to store, with all that is derived. `new` is the id of one that was not there."""
        if before is not None:
            after = filled(before, entry)
            _keep_sense_ids(after, before)
            after.revision_number = before.revision_number + 1
        else:
            after = filled(DictionaryEntry(id=new, dictionary_id=self._dictionary_id), entry)
            after.language, after.state = self._language, DRAFT
        if self._publishes and after.state != PUBLISHED and (before is None or before.state == DRAFT):
            after.state = PUBLISHED
            after.publish_time.FromDatetime(now)
        derive(after)
        return after

    def _write(self, transaction: WriteTransaction, before: DictionaryEntry | None, values: Row) -> None:
        new = {f"new_{name}": value for name, value in values.items()} | {"new_tenant_id": self._tenant_id}
        if before is None:
            transaction.queue(INSERT, **new, new_random_key=random.random())  # noqa: S311 - for variety
            return
        transaction.queue(REPLACE, **new)
        keep_revision(transaction, self._tenant_id, before)

    def _keep(self, transaction: WriteTransaction, changes: Sequence[Change]) -> None:
        if changes:
            keep_terms(transaction, self._tenant_id, changes)
            keep_relations(transaction, self._tenant_id, [change.after for change in changes])


def key_of(entry: DictionaryEntry) -> Key:
    """What is unique in a dictionary."""
    return entry.headword, entry.part_of_speech, entry.homograph_number


def _keep_sense_ids(after: DictionaryEntry, before: DictionaryEntry) -> None:
    """Give senses without an id that of a former sense that said the same, to which others may refer."""
    taken = {sense.id for sense in after.senses}
    known: dict[object, list[str]] = {}
    for sense in reversed(before.senses):
        if sense.id not in taken:
            known.setdefault(_said(sense), []).append(sense.id)
    for sense in after.senses:
        if not sense.id and (left := known.get(_said(sense))):
            sense.id = left.pop()


def _said(sense: Sense) -> object:
    """What tells a sense from others: its first definition, else its translations."""
    if sense.definitions:
        return sense.definitions[0]
    return tuple((each.language, each.text) for each in sense.translations)


def _drop_unknown(entry: DictionaryEntry, senses: Mapping[str, Sequence[str]]) -> None:
    """Leave out relations to entries that the tenant does not have: a file may come from another one."""
    for sense in entry.senses:
        kept = [each for each in sense.relations if not each.related_entry_id or is_known(each, senses)]
        if len(kept) < len(sense.relations):
            del sense.relations[:]
            sense.relations.extend(kept)
