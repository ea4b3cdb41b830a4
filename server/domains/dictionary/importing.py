"""Imports: the operation that reads a file of entries."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple, cast

from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry
from plinth.dictionary.v1.dictionary_pb2 import Dictionary
from plinth.dictionary.v1.dictionary_transfer_pb2 import OnConflict

from server.data.transactions import Database, WriteTransaction
from server.domains.dictionary.dictionaries import IMPORTED, the_dictionary
from server.domains.dictionary.entries import faults_of
from server.domains.dictionary.formats import Found, Unreadable, entries_in
from server.domains.dictionary.import_reports import ImportReport, left_file
from server.domains.dictionary.storing import EntryStore, Stored
from server.json_values import JsonValue
from server.kernel.caching import Generations
from server.kernel.clock import Clock
from server.kernel.messages import normaliser
from server.kernel.operations import LongJob, Work
from server.kernel.ports import WorkFiles
from server.kernel.problems import Malformed, NotFound, RuleViolated, Violation, broken_rules
from server.kernel.record import record_platform_change
from server.kernel.rules import check

IMPORT = "dictionary.import_dictionary"
CAUSE = "import of a dictionary"
AT_ONCE = 200
MOST_REMEMBERED = 1_000
"""Entries that were refused while they were stored, and are still told after the loss of a worker."""
Refusal = tuple[int, str, str]
"""Its place in the file, its headword, and why."""
_normalise = normaliser(DictionaryEntry.DESCRIPTOR)


class Counts(NamedTuple):
    """How far an import has come."""

    place: int = 0
    """What was read until there is done."""
    created: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: int = 0
    refused: int = 0

    def after(self, stored: Stored, *, place: int, skipped: int, refused: int) -> "Counts":
        """The counts after a batch."""
        return Counts(
            place,
            self.created + stored.created,
            self.replaced + stored.replaced,
            self.unchanged + stored.unchanged,
            self.skipped + stored.skipped + skipped,
            self.refused + len(stored.refused) + refused,
        )


class DictionaryImport:
    """The work of the operation."""

    def __init__(self, database: Database, files: WorkFiles, generations: Generations, clock: Clock) -> None:
        self._database, self._files, self._generations, self._clock = database, files, generations, clock

    @property
    def long_job(self) -> LongJob:
        """What workers run. Another attempt goes on after the last batch that was committed."""
        return LongJob(IMPORT, self.run, resumable=True)

    def run(
        self, work: Work, *, dictionary_id: str, file_id: str, form: int, on_conflict: int, publish: bool
    ) -> dict[str, JsonValue]:
        """Read the file. Raises NotFound if the dictionary is deleted, and Malformed if the file breaks off."""
        if "fault" not in work.saved:
            try:
                with self._database.read(work.scope) as transaction:
                    dictionary = the_dictionary(transaction, work.tenant_id, dictionary_id)
                replaces = on_conflict == OnConflict.ON_CONFLICT_REPLACE
                store = EntryStore(work.tenant_id, dictionary, replaces=replaces, publishes=publish)
                self._read(work, store, dictionary, file_id, form)
            except NotFound:
                self._files.delete(work.tenant_id, file_id)
                raise
        self._files.delete(work.tenant_id, file_id)
        if fault := work.saved["fault"]:
            raise Malformed(f"The file cannot be read further: {fault}")
        if file := cast("Mapping[str, JsonValue]", work.saved["file"]):
            work.leave(left_file(file))
        counts = Counts(*cast("Sequence[int]", work.saved["counts"]))
        return {name: value for name, value in counts._asdict().items() if name != "place"}

    def _read(self, work: Work, store: EntryStore, dictionary: Dictionary, file_id: str, form: int) -> None:
        """Store what can be read, and save what came of it."""
        with TemporaryFile() as file, TemporaryFile() as lines:
            for piece in self._files.read(work.tenant_id, file_id):
                file.write(piece)
            file.seek(0)
            report = ImportReport(lines)
            reading = _Reading(work, store, report, self._invalidate, self._clock)
            fault = reading.read(file, form, dictionary.language)
            left = {} if fault else report.leave(self._files, work.tenant_id, f"import-{work.id}.jsonl")
        with work.batch() as transaction:
            work.save(**reading.saved, fault=fault, file=left)
            self._tell(transaction, work.tenant_id, dictionary)

    def _invalidate(self, tenant_id: str) -> None:
        self._generations.invalidate([f"tenant:{tenant_id}:dictionary_entries"])

    def _tell(self, transaction: WriteTransaction, tenant_id: str, dictionary: Dictionary) -> None:
        record_platform_change(
            transaction,
            IMPORTED,
            cause=CAUSE,
            before=dictionary,
            after=dictionary,
            now=self._clock(),
            tenant_id=tenant_id,
            audience=None,
        )


class _Reading:
    """One attempt to read a file, which goes on after the last batch of the attempt before."""

    def __init__(
        self, work: Work, store: EntryStore, report: ImportReport, invalidate: Callable[[str], None], clock: Clock
    ) -> None:
        self._work, self._store, self._report = work, store, report
        self._invalidate, self._clock = invalidate, clock
        self._counts = Counts(*cast("Sequence[int]", work.saved.get("counts", ())))
        # What was refused while it was stored: that depends on what was there.
        self._refused = list(cast("Sequence[Refusal]", work.saved.get("refused", ())))
        for place, headword, error in self._refused:
            report.add(place, headword, error)

    @property
    def saved(self) -> dict[str, JsonValue]:
        """What another attempt goes on from."""
        return {"counts": list(self._counts), "refused": [list(each) for each in self._refused]}

    def read(self, file: BinaryIO, form: int, language: str) -> str:
        """Store all that can be read. Returns why nothing behind it can be; empty at the end of the file."""
        batch: list[Found] = []
        try:
            for each in entries_in(file, form, language):
                batch.append(each)
                if len(batch) == AT_ONCE:
                    self._take(batch)
                    batch = []
        except Unreadable as fault:
            self._take(batch)
            return str(fault)
        self._take(batch)
        return ""

    def _take(self, batch: Sequence[Found]) -> None:
        valid = list(_valid(batch, self._report))
        if not batch or batch[-1].place <= self._counts.place:
            return
        skipped = sum(1 for each in batch if each.skipped)
        refused = len(batch) - skipped - len(valid)
        with self._work.batch() as transaction:
            stored = self._store.store(transaction, [entry for _, entry in valid], self._clock())
            self._counts = self._counts.after(stored, place=batch[-1].place, skipped=skipped, refused=refused)
            for place, error in stored.refused:
                self._refuse(valid[place][0], error)
            self._work.progress(batch[-1].place, message=batch[-1].headword)
            self._work.save(**self.saved)
        self._invalidate(self._work.tenant_id)

    def _refuse(self, found: Found, error: str) -> None:
        self._report.add(found.place, found.headword, error)
        if len(self._refused) < MOST_REMEMBERED:
            self._refused.append((found.place, found.headword, error))


def _valid(batch: Iterable[Found], report: ImportReport) -> Iterator[tuple[Found, DictionaryEntry]]:
    """What follows the rules. What does not is reported."""
    for found in batch:
        if found.entry is None:
            if found.error:
                report.add(found.place, found.headword, found.error)
            continue
        try:
            _check(found.entry)
        except RuleViolated as refused:
            faults = "; ".join(f"{each.field} {each.description}" for each in refused.violations)
            report.add(found.place, found.headword, faults)
        else:
            yield found, found.entry


def _check(entry: DictionaryEntry) -> None:
    """Normalise an entry. Raises RuleViolated."""
    if _normalise is not None:
        _normalise(entry)
    check(entry)
    if not entry.headword:
        raise broken_rules([Violation("headword", "is required", "required")])
    if faults := faults_of(entry):
        raise broken_rules(faults)
