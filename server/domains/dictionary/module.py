"""Dictionaries: entries with senses, looking words up, proposals, imports and exports."""

from datetime import timedelta

from server.data.grants import Grants
from server.domains.dictionary.dictionaries import DictionaryService, Languages
from server.domains.dictionary.dictionary_search import DictionarySearchService
from server.domains.dictionary.entries import DictionaryEntryService, DictionaryRevisionService
from server.domains.dictionary.misses import MissCounter
from server.domains.dictionary.proposals import DictionaryProposalService
from server.domains.dictionary.tables import (
    dictionaries,
    dictionary_entries,
    dictionary_misses,
    dictionary_proposals,
    dictionary_revisions,
    dictionary_terms,
    dictionary_typos,
)
from server.domains.dictionary.transfers import DictionaryTransferService
from server.kernel.module import Background, Expire, Module, Platform, Serve, WorkerPlatform
from server.kernel.privacy import Export, NotPersonal, Pseudonymise

KEPT = timedelta(days=90)
CONTENT = "what a dictionary says of words"
READS = ("dictionary.dictionaries.read", "dictionary.entries.read")
PROPOSES = (*READS, "dictionary.proposals.read", "dictionary.proposals.create")


def _entries(platform: Platform) -> DictionaryEntryService:
    return DictionaryEntryService(Languages(platform.database, platform.generations), platform.clock)


def _search(platform: Platform) -> DictionarySearchService:
    languages = Languages(platform.database, platform.generations)
    return DictionarySearchService(languages, MissCounter(platform.database), platform.page_tokens, platform.clock)


def _transfers(platform: Platform) -> DictionaryTransferService:
    languages = Languages(platform.database, platform.generations)
    return DictionaryTransferService(languages, platform.ports.work_files, platform.downloads, platform.current_access)


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.dictionary.importing import DictionaryImport  # noqa: PLC0415 - in workers only
    from server.domains.dictionary.upkeep import DictionaryUpkeep  # noqa: PLC0415

    made = DictionaryImport(platform.database, platform.ports.work_files, platform.generations, platform.clock)
    upkeep = DictionaryUpkeep(platform.dispatch, platform.database)
    return Background(long_jobs=(made.long_job,), schedules=(upkeep.schedule,))


MODULE = Module(
    "dictionary",
    services=(
        DictionaryService,
        Serve(DictionaryEntryService, _entries),
        DictionaryRevisionService,
        Serve(DictionaryProposalService, lambda platform: DictionaryProposalService(_entries(platform))),
        Serve(DictionarySearchService, _search),
        Serve(DictionaryTransferService, _transfers),
    ),
    roles={
        "editor": ("dictionary.*",),
        "member": PROPOSES,
        "employee": PROPOSES,
        "partner": READS,
        "viewer": READS,
    },
    grants=Grants(dispatch_writes=("dictionary_misses",), dispatch_finds={"dictionaries": "(delete_time IS NULL)"}),
    retention=(Expire(table=dictionary_misses, by="day", after=KEPT, every_tenant=True),),
    erases=(
        NotPersonal(dictionaries, "key", "display_name", "description", "language", "licence", "source", why=CONTENT),
        NotPersonal(
            dictionary_entries,
            *("language", "headword", "part_of_speech", "labels", "pronunciations", "forms", "senses", "etymology"),
            *("hyphenation", "source", "licence", "sort_key", "return_reason"),
            why=CONTENT,
        ),
        NotPersonal(dictionary_terms, "term", why=CONTENT),
        NotPersonal(dictionary_typos, "key", "term", why=CONTENT),
        NotPersonal(dictionary_revisions, "content", why=CONTENT),
        NotPersonal(dictionary_misses, "day", "language", "text", why="counts of texts, without those who typed them"),
        Pseudonymise(dictionary_proposals, "note"),
        NotPersonal(dictionary_proposals, "content", "reason", "dictionary_entry_id", "new_entry_id", why=CONTENT),
    ),
    exports=(Export(dictionary_proposals),),
    background=_background,
)
