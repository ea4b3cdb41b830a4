"""Looking words up."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from google.type.date_pb2 import Date
from plinth.dictionary.v1 import dictionary_search_pb2
from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry
from plinth.dictionary.v1.dictionary_search_pb2 import (
    DictionaryHit,
    ListMissingWordsResponse,
    LookUpWordResponse,
    MissingWord,
    SearchDictionaryResponse,
    SuggestWordsResponse,
    WordSuggestion,
)
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnySelect
from server.data.statements import Statement
from server.domains.dictionary.choosing import beginning_of, choosing, point_of
from server.domains.dictionary.dictionaries import TYPE, Languages
from server.domains.dictionary.entries import ENTRY
from server.domains.dictionary.finding import Place, look_up, search, suggest
from server.domains.dictionary.languages import kept_letters
from server.domains.dictionary.misses import LONGEST, MISSING, Miss, MissCounter
from server.domains.dictionary.ranking import Hit, Key, suggested
from server.domains.dictionary.tables import dictionary_entries
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.messages import fitting, resource_type_of
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.queries import PageTokens, page_size
from server.kernel.resources import Hooks, ReadRows, Service, is_one_of

MOST_HOMOGRAPHS = 100
SUGGESTIONS = 10
MOST_SHOWN = 2**31 - 1
LOOKED_BACK = 30
"""Days of missing words, unless the request names another number."""
ENTRY_TYPE = resource_type_of(DictionaryEntry)


class Scoped(NamedTuple):
    """Where a request looks, as its fields say."""

    dictionary_id: str
    language: str


class DictionarySearchService(Service):
    """Searches, suggestions, and the word of the day."""

    descriptor = dictionary_search_pb2.DESCRIPTOR.services_by_name["DictionarySearchService"]

    def __init__(self, languages: Languages, misses: MissCounter, tokens: PageTokens, clock: Clock) -> None:
        super().__init__()
        self._languages, self._misses, self._tokens, self._clock = languages, misses, tokens, clock
        self._entries = ReadRows(Hooks(), ENTRY)
        self._chosen = choosing(self._entries.plan.columns)
        self._by_id = Statement(self._with_ids)
        self.parts = (misses,)

    # Custom methods ------------------------------------------------------------------------------------------------

    def search_dictionary(
        self, call: Call, request: dictionary_search_pb2.SearchDictionaryRequest
    ) -> SearchDictionaryResponse:
        """Find entries by words."""
        scope = Scoped(request.dictionary_id.lower(), request.language)
        question = "\n".join((call.method.path, str(call.tenant_id), request.q, *scope, request.part_of_speech.lower()))
        after = _key_in(self._tokens.read(question, request.page_token)) if request.page_token else None
        if not request.q.strip():
            self._dictionaries(call, scope)
            return SearchDictionaryResponse()
        hits = self._hits(call, scope, lambda where: search(where, request.q), request.part_of_speech)
        if not hits and after is None and not request.part_of_speech:
            self._note_miss(call, request)
        left = [hit for hit in hits if after is None or hit.key > after]
        shown = self._shown(call, left[: page_size(request.page_size)])
        token = self._token_after(shown, left, question)
        return SearchDictionaryResponse(hits=shown, next_page_token=token, total_size=len(hits))

    def suggest_words(self, call: Call, request: dictionary_search_pb2.SuggestWordsRequest) -> SuggestWordsResponse:
        """Suggest headwords."""
        languages = self._languages.of(str(call.tenant_id))
        scope = Scoped(request.dictionary_id.lower(), request.language)
        if not request.q.strip():
            self._dictionaries(call, scope)
            return SuggestWordsResponse()
        found: dict[tuple[str, str], WordSuggestion] = {}
        for language, hit in self._suggested(call, scope, request.q, languages):
            suggestion = WordSuggestion(
                headword=hit.facts.headword,
                language=language,
                dictionary_entry_id=hit.facts.id,
                matched_by=hit.match,
                typos=hit.typos,
            )
            found.setdefault((language, hit.facts.headword), suggestion)
        return SuggestWordsResponse(suggestions=list(found.values())[: request.limit or SUGGESTIONS])

    def look_up_word(self, call: Call, request: dictionary_search_pb2.LookUpWordRequest) -> LookUpWordResponse:
        """Get the entries of a word."""
        scope = Scoped(request.dictionary_id.lower(), request.language)
        hits = self._hits(call, scope, lambda where: look_up(where, request.word))
        shown = self._shown(call, hits[:MOST_HOMOGRAPHS])
        if not shown:
            raise not_found(ENTRY_TYPE, "")
        return LookUpWordResponse(hits=shown)

    def get_random_entry(self, call: Call, request: dictionary_search_pb2.GetRandomEntryRequest) -> DictionaryEntry:
        """Get any entry."""
        scope = Scoped(request.dictionary_id.lower(), request.language)
        return self._choose(call, scope, random.random())  # noqa: S311 - for variety

    def get_word_of_the_day(self, call: Call, request: dictionary_search_pb2.GetWordOfTheDayRequest) -> DictionaryEntry:
        """Get the word of a day."""
        today = self._clock().date()
        day = _day_of(request.day) if request.HasField("day") else today
        if day > today + timedelta(days=1):
            raise broken_rules([Violation("day", "is not after tomorrow", "day.future")])
        scope = Scoped(request.dictionary_id.lower(), request.language)
        point = point_of(str(call.tenant_id), "\n".join(scope), day)
        return self._choose(call, scope, point, beginning_of(day))

    def list_missing_words(
        self, call: Call, request: dictionary_search_pb2.ListMissingWordsRequest
    ) -> ListMissingWordsResponse:
        """List what people did not find."""
        since = self._clock().date() - timedelta(days=(request.days or LOOKED_BACK) - 1)
        rows = call.reads.run(
            MISSING,
            tenant=call.tenant_id,
            since=since.isoformat(),
            language=request.language,
            most=page_size(request.page_size),
        ).all()
        return ListMissingWordsResponse(
            missing_words=[
                MissingWord(
                    text=row["text"],
                    language=row["language"],
                    searches=min(row["searches"], MOST_SHOWN),
                    last_day=_date_of(date.fromisoformat(row["last_day"])),
                )
                for row in rows
            ]
        )

    # Parts ---------------------------------------------------------------------------------------------------------

    def _dictionaries(self, call: Call, scope: Scoped) -> Mapping[str, str]:
        """The dictionaries to look in, with their languages. Raises NotFound for one that is named and absent."""
        known = self._languages.of(str(call.tenant_id))
        if scope.dictionary_id and scope.dictionary_id not in known:
            raise not_found(TYPE, scope.dictionary_id)
        return {
            dictionary_id: language
            for dictionary_id, language in known.items()
            if scope.dictionary_id in ("", dictionary_id) and _speaks(language, scope.language)
        }

    def _places(self, call: Call, scope: Scoped, part_of_speech: str = "") -> Iterator[Place]:
        """The places to look in: one for all dictionaries whose languages keep the same letters."""
        groups: dict[str, list[str]] = {}
        for dictionary_id, language in self._dictionaries(call, scope).items():
            groups.setdefault(kept_letters(language), []).append(dictionary_id)
        for kept, ids in groups.items():
            yield Place(call.reads, str(call.tenant_id), kept, sorted(ids), part_of_speech)

    def _hits(
        self, call: Call, scope: Scoped, find: Callable[[Place], list[Hit]], part_of_speech: str = ""
    ) -> list[Hit]:
        hits = [hit for place in self._places(call, scope, part_of_speech) for hit in find(place)]
        return sorted(hits, key=lambda hit: hit.key)

    def _suggested(
        self, call: Call, scope: Scoped, typed: str, languages: Mapping[str, str]
    ) -> Iterator[tuple[str, Hit]]:
        """Hits with their language, those of each language in their order."""
        by_language: dict[str, list[str]] = {}
        for dictionary_id in self._dictionaries(call, scope):
            by_language.setdefault(languages[dictionary_id], []).append(dictionary_id)
        found = [
            (language, hit)
            for language, ids in by_language.items()
            for hit in suggest(Place(call.reads, str(call.tenant_id), kept_letters(language), sorted(ids)), typed)
        ]
        return iter(sorted(found, key=lambda each: suggested(each[1])))

    def _choose(self, call: Call, scope: Scoped, point: float, before: datetime | None = None) -> DictionaryEntry:
        """The entry from a point on, or from the beginning; of those published before a moment, if there are any."""
        dictionaries = list(self._dictionaries(call, scope))
        asked = {"tenant": call.tenant_id, "dictionaries": dictionaries, "point": point, "before": before}
        found = self._entries.find(call, self._chosen, **asked)
        if found is None:
            raise not_found(ENTRY_TYPE, "")
        return found

    def _shown(self, call: Call, hits: Sequence[Hit]) -> list[DictionaryHit]:
        """Hits with their entries, as many from the front as fit into one answer."""
        if not hits:
            return []
        result = call.reads.run(self._by_id, tenant=call.tenant_id, ids=[hit.facts.id for hit in hits])
        entries = {entry.id: entry for entry in self._entries.plan.messages(result)}
        return fitting(_hit_of(hit, entries[hit.facts.id]) for hit in hits if hit.facts.id in entries)

    def _token_after(self, shown: Sequence[DictionaryHit], hits: Sequence[Hit], question: str) -> str:
        """The token for what comes after the last hit that is shown; empty if nothing does."""
        if not shown or shown[-1].dictionary_entry.id == hits[-1].facts.id:
            return ""
        last = next(hit for hit in hits if hit.facts.id == shown[-1].dictionary_entry.id)
        return self._tokens.write(question, list(last.key))

    def _note_miss(self, call: Call, request: dictionary_search_pb2.SearchDictionaryRequest) -> None:
        language = request.language
        if request.dictionary_id:
            language = self._languages.of(str(call.tenant_id))[request.dictionary_id.lower()]
        words = " ".join(request.q.lower().split())[:LONGEST]
        day = self._clock().astimezone(UTC).date().isoformat()
        self._misses.take(Miss(str(call.tenant_id), day, language, words))

    def _with_ids(self) -> AnySelect:
        e = dictionary_entries.c
        return select(*self._entries.plan.columns).where(
            e.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
            is_one_of(e.id),
        )


def _hit_of(hit: Hit, entry: DictionaryEntry) -> DictionaryHit:
    return DictionaryHit(
        dictionary_entry=entry, matched_by=hit.match, matched_terms=[each.term for each in hit.met], typos=hit.typos
    )


def _speaks(language: str, asked: str) -> bool:
    """Whether a language is the one that is asked for, or one of its regions."""
    language, asked = language.lower(), asked.lower()
    return not asked or language == asked or language.startswith(f"{asked}-")


def _key_in(values: Mapping[str, object]) -> Key:
    """The key of the last hit of a page, as its token has it."""
    typos, kind, is_begun, unlike, rarity, length, sort_key, entry_id = values.values()
    return (
        int(str(typos)),
        int(str(kind)),
        bool(is_begun),
        int(str(unlike)),
        float(str(rarity)),
        int(str(length)),
        str(sort_key),
        str(entry_id),
    )


def _day_of(shown: Date) -> date:
    """A day. Raises RuleViolated for one that is in no calendar."""
    try:
        return date(shown.year, shown.month, shown.day)
    except ValueError:
        raise broken_rules([Violation("day", "is a day of the calendar", "date.valid")]) from None


def _date_of(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)
