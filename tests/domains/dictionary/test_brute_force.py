"""Searches, suggestions and look-ups find what comparing every entry finds, in the same order.

The comparison follows the comments of the contract (dictionary_search.proto). It shares the folding of letters with the
service, and no other code.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from rapidfuzz.distance import OSA

from server.kernel.search.folding import expanded, fold
from tests.clients import Tenant, another_tenant
from tests.contract.instances import made
from tests.domains.dictionary.conftest import Entry, Thousands, imported, marked, mistyped
from tests.domains.dictionary.instances import DICTIONARIES, new_dictionary, published

SEARCH, SUGGEST, WORDS = (f"/api/v1/dictionary/{name}" for name in ("search", "suggest", "words"))
QUERIES = 300
SIZES = (1, 3, 10, 50, 200)
MOST, MOST_HOMOGRAPHS = 500, 100
"""Entries with a word that are looked at, and entries of a word."""
HEADWORD, FORM, TRANSLATION, DEFINITION, EXAMPLE = range(1, 6)
MATCHES = ("", "MATCH_HEADWORD", "MATCH_FORM", "MATCH_TRANSLATION", "MATCH_DEFINITION", "MATCH_EXAMPLE")
ANYWHERE, BEGINNING = 4, 6
"""Letters of the shortest beginning that is looked for in all words of a headword; letters with one typo at most."""


class How(NamedTuple):
    """How a word of a query meets an entry; less is better."""

    typos: int
    kind: int
    is_begun: bool


Having = set[tuple[int, int]]
"""The entries that have a term, by their places, each with what the term is of it."""
Meetings = Iterable[tuple[int, How, str]]
"""The places of entries, how they are met, and the terms that are met."""
Met = Mapping[int, tuple[How, set[str]]]
"""By the place of an entry: how it is met at best, and the terms that are met so."""


class Found(NamedTuple):
    """What is expected of a hit."""

    entry: Entry
    typos: int
    match: str
    terms: Sequence[set[str]]
    """For each word of the query: what may be named as met."""

    @property
    def facts(self) -> tuple[str, str, int]:
        """What is compared."""
        return self.entry.id, self.match, self.typos


class Reference:
    """The entries of a dictionary, and which of them have a term."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.words: dict[str, Having] = defaultdict(set)
        self.wholes: dict[str, Having] = defaultdict(set)
        """Headwords and forms."""
        for place, entry in enumerate(entries):
            own = ((entry.headword,), entry.forms, entry.translations, entry.definitions, entry.examples)
            for kind, texts in enumerate(own, start=HEADWORD):
                for text in texts:
                    self._learn(place, kind, text)

    def search(self, query: str, part_of_speech: str = "") -> list[Found]:
        """What SearchDictionary finds."""
        words = query.split()
        met = [best(self._of_word(word, is_last=place == len(words))) for place, word in enumerate(words, start=1)]
        return [each for each in self._ranked(met, query) if part_of_speech in ("", each.entry.part_of_speech)]

    def look_up(self, word: str) -> list[Found]:
        """What LookUpWord finds."""
        return self._ranked([best(self._is(word, self.wholes))], word)

    def suggest(self, typed: str) -> list[tuple[str, str, str, int]]:
        """What SuggestWords suggests: headwords, each with the best of its entries, what was met, and the typos."""
        may_mean = self._mistyped(typed, self.wholes)
        met = best([*self._is(typed, self.wholes), *self._begins(typed, self.wholes), *may_mean])

        def key(place: int) -> tuple[Any, ...]:
            how, _ = met[place]
            # Of those that only begin so, the most common come first, whatever begins so.
            kind = 0 if how.is_begun else how.kind
            return how.typos, how.is_begun, kind, *rest_of_order(self.entries[place], typed)

        found: dict[str, tuple[str, str, str, int]] = {}
        for place in sorted(met, key=key):
            entry, (how, _) = self.entries[place], met[place]
            found.setdefault(entry.headword, (entry.headword, entry.id, MATCHES[how.kind], how.typos))
        return list(found.values())

    # Parts ---------------------------------------------------------------------------------------------------------

    def _learn(self, place: int, kind: int, text: str) -> None:
        for word in text.split():
            for spelling in spellings(word):
                self.words[spelling].add((place, kind))
        if kind <= FORM:
            for spelling in spellings(text):
                self.wholes[spelling].add((place, kind))

    def _of_word(self, word: str, *, is_last: bool) -> Meetings:
        yield from self._is(word, self.words)
        yield from self._mistyped(word, self.words)
        for spelling in spellings(word) if is_last else ():
            yield from self._begins(spelling, self.words if len(spelling) >= ANYWHERE else self.wholes)

    def _is(self, text: str, terms: Mapping[str, Having]) -> Meetings:
        for spelling in spellings(text):
            for place, kind in terms.get(spelling, ()):
                yield place, How(0, kind, is_begun=False), spelling

    def _begins(self, text: str, terms: Mapping[str, Having]) -> Meetings:
        """In headwords, forms and translations. What is met as a whole is met better elsewhere."""
        for spelling in spellings(text):
            for term in filter(lambda term: term.startswith(spelling), terms):
                for place, kind in terms[term]:
                    if kind <= TRANSLATION:
                        yield place, How(0, kind, is_begun=True), term

    def _mistyped(self, text: str, terms: Mapping[str, Having]) -> Meetings:
        """In headwords and forms."""
        for spelling in spellings(text):
            for term, typos in near(spelling, terms):
                for place, kind in terms[term] if typos == 1 or is_second_forgiven(spelling, term) else ():
                    if kind <= FORM:
                        yield place, How(typos, kind, is_begun=False), term

    def _ranked(self, met: Sequence[Met], query: str) -> list[Found]:
        ranked: list[tuple[tuple[Any, ...], Found]] = []
        for place in set(met[0]).intersection(*met[1:]):
            entry, hows = self.entries[place], [each[place][0] for each in met]
            typos, kind = sum(how.typos for how in hows), max(how.kind for how in hows)
            key = (typos, kind, any(how.is_begun for how in hows), *rest_of_order(entry, query))
            ranked.append((key, Found(entry, typos, MATCHES[kind], [each[place][1] for each in met])))
        return [found for _, found in sorted(ranked, key=lambda each: each[0])]


def rest_of_order(entry: Entry, query: str) -> tuple[Any, ...]:
    """The exact spelling, the more common, the shorter headword, the alphabet, and the id, so that pages are stable."""
    # The contract does not say that what differs in its case alone comes before what differs in its marks too.
    unlike = (entry.headword != query) + (entry.headword.casefold() != query.casefold())
    return unlike, -entry.frequency, len(entry.headword), fold(entry.headword), entry.id


def spellings(text: str) -> set[str]:
    """What a text is compared as: without marks, or with two letters for each umlaut."""
    return {fold(text), expanded(text)}


def forgiven(word: str) -> int:
    """How many typos are forgiven at most in a word, whether it is asked for or met. Several words are no word."""
    if len(word) < 5 or " " in word:
        return 0
    return 1 if len(word) < 9 else 2


def near(word: str, terms: Iterable[str]) -> Iterator[tuple[str, int]]:
    """The terms that are one or two typos apart, each with their number."""
    for term in terms if forgiven(word) else ():
        most = min(forgiven(word), forgiven(term))
        typos = OSA.distance(word, term, score_cutoff=most)
        if 0 < typos <= most:
            yield term, typos


def is_second_forgiven(word: str, term: str) -> bool:
    """Whether two typos are forgiven for certain: the second is behind the beginning, or letters are doubled."""
    one, other = ("".join(letter for letter, _ in groupby(each)) for each in (word, term))
    return one == other or any(places[-1] >= BEGINNING for places in edits(word, term, 2))


def edits(one: str, other: str, most: int, place: int = 0, at: int = 0) -> Iterator[tuple[int, ...]]:
    """All ways to make a word another one by typos: before which letter of either each of them is, counted from 0."""
    left, right = one[place : place + 2], other[at : at + 2]
    if not left and not right:
        yield ()
    if left[:1] == right[:1] != "":
        yield from edits(one, other, most, place + 1, at + 1)
    is_swapped = len(left) == len(right) == 2 and left == right[::-1]
    is_replaced = left and right and left[0] != right[0]
    steps = {(1, 1): is_replaced, (1, 0): left, (0, 1): right, (2, 2): is_swapped} if most else {}
    for step, other_step in (step for step, is_possible in steps.items() if is_possible):
        for further in edits(one, other, most - 1, place + step, at + other_step):
            yield min(place, at), *further


def is_decided(typed: str, terms: Mapping[str, Having]) -> bool:
    """Whether the contract decides what is found. It does not say that other second typos are never forgiven."""
    pairs = ((word, each) for word in spellings(typed) for each in near(word, terms))
    return all(typos == 1 or is_second_forgiven(word, term) for word, (term, typos) in pairs)


def best(met: Meetings) -> Met:
    """The best for each entry, with all terms that are as good."""
    found: dict[int, tuple[How, set[str]]] = {}
    for place, how, term in met:
        known, terms = found.get(place, (None, set[str]()))
        if known is None or how < known:
            found[place] = (how, {term})
        elif how == known:
            terms.add(term)
    return found


@pytest.fixture(scope="module")
def reference(thousands: Thousands) -> Reference:
    """Tests change nothing in it."""
    return Reference(thousands.entries)


# Queries -------------------------------------------------------------------------------------------------------------


def altered(random: Random, word: str) -> str:
    """A word as somebody may type it."""
    word = marked(random, word) if random.random() < 0.5 else word
    return mistyped(random, word, random.choice((1, 2))) if random.random() < 0.3 else word


def queries(random: Random, thousands: Thousands, reference: Reference) -> Iterator[str]:
    """Words that an entry has, or any, in any order. The last one may be cut."""
    while True:
        entry = random.choice(thousands.entries)
        texts = (entry.headword, *entry.forms, *entry.translations, *entry.definitions, *entry.examples)
        known = " ".join(texts).split() if random.random() < 0.7 else thousands.vocabulary
        asked = [altered(random, word) for word in random.sample(known, random.choice((1, 1, 2, 2, 3)))]
        if random.random() < 0.3:
            asked[-1] = asked[-1][: random.randint(1, len(asked[-1]))]
        # The contract does not say what a word means that comes twice.
        if len(set(map(fold, asked))) == len(asked) and all(is_decided(word, reference.words) for word in asked):
            yield " ".join(asked)


def names(random: Random, thousands: Thousands, reference: Reference) -> Iterator[str]:
    """Headwords and forms, or beginnings of them."""
    while True:
        entry = random.choice(thousands.entries)
        text = random.choice((entry.headword, *entry.forms))
        beginning = text[: random.randint(1, len(text))].strip() if random.random() < 0.5 else text
        typed = " ".join(altered(random, word) for word in beginning.split())
        if is_decided(typed, reference.wholes):
            yield typed


def hits(tenant: Tenant, q: str, page_size: int = 200, **narrowed: str) -> list[dict[str, Any]]:
    """What a search finds, from all pages."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        answer = tenant.rest.get(SEARCH, {"q": q, "pageSize": page_size, "pageToken": token, **narrowed})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert 0 <= len(page["hits"]) <= page_size
        found += page["hits"]
        token = page["nextPageToken"]
        if not token:
            assert page["totalSize"] == len(found)
            return found


def looked_up(tenant: Tenant, word: str, **narrowed: str) -> list[dict[str, Any]]:
    """The entries of a word; an empty list if it has none."""
    answer = tenant.rest.get(f"{WORDS}/{quote(word, safe='')}", narrowed)
    assert answer.status_code in (200, 404), answer.text
    found: list[dict[str, Any]] = answer.json().get("hits", [])
    return found


def suggested(tenant: Tenant, typed: str, limit: int = 0) -> list[tuple[str, str, str, int]]:
    """What is suggested, as the reference has it."""
    answer = tenant.rest.get(SUGGEST, {"q": typed, "limit": limit})
    assert answer.status_code == 200, answer.text
    return [
        (each["headword"], each["dictionaryEntryId"], each["matchedBy"], each["typos"])
        for each in answer.json()["suggestions"]
    ]


def facts(hit: Mapping[str, Any]) -> tuple[str, str, int]:
    """What is compared of a hit."""
    return hit["dictionaryEntry"]["id"], hit["matchedBy"], hit["typos"]


def headwords(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The headwords of hits."""
    return [hit["dictionaryEntry"]["headword"] for hit in found]


def may_be_met(term: str, terms: set[str]) -> bool:
    """Whether a hit may name a term, of those that are met at best."""
    # Of a short beginning, itself is named.
    is_short = len(term) < ANYWHERE
    return term in terms or (is_short and any(each.startswith(term) for each in terms))


def test_searches_find_what_comparing_everything_finds(thousands: Thousands, reference: Reference) -> None:
    random = Random(23)  # noqa: S311 - the same ones in each run
    seen: Counter[object] = Counter()
    for q in islice(queries(random, thousands, reference), QUERIES):
        part_of_speech = random.choice(("", "", "", "", "noun", "verb"))
        wanted = reference.search(q, part_of_speech)
        # Small pages where they are few.
        page_size = random.choice(SIZES if len(wanted) < 20 else SIZES[-2:])
        found = hits(thousands.tenant, q, page_size, partOfSpeech=part_of_speech)
        assert list(map(facts, found)) == [each.facts for each in wanted], q
        for hit, each in zip(found, wanted, strict=True):
            assert all(map(may_be_met, hit["matchedTerms"], each.terms)), (q, hit)
            assert len(hit["matchedTerms"]) == len(q.split())
        seen.update({each.match for each in wanted} | {f"{each.typos} typos" for each in wanted})
        seen.update([f"pages of {page_size}" if wanted else "nothing"])
    # The control: everything that can be found was, often, and on pages of all sizes.
    often = (
        *MATCHES[1:],
        *(f"{typos} typos" for typos in range(3)),
        *(f"pages of {size}" for size in SIZES),
        "nothing",
    )
    assert min(seen[each] for each in often) >= 10, seen


def test_suggestions_are_what_comparing_everything_suggests(thousands: Thousands, reference: Reference) -> None:
    random = Random(29)  # noqa: S311 - the same ones in each run
    seen: Counter[object] = Counter()
    for typed in islice(names(random, thousands, reference), QUERIES):
        limit = random.choice((0, 1, 7, 50, 50))
        wanted = reference.suggest(typed)[: limit or 10]
        assert suggested(thousands.tenant, typed, limit) == wanted, typed
        seen.update({each[2] for each in wanted} | {each[3] for each in wanted})
    assert min(seen[each] for each in (*MATCHES[1:3], 0, 1, 2)) >= 5, seen


def test_words_are_looked_up_as_comparing_everything_does(thousands: Thousands, reference: Reference) -> None:
    random = Random(31)  # noqa: S311 - the same ones in each run
    seen: Counter[object] = Counter()
    for word in islice(names(random, thousands, reference), QUERIES):
        wanted = reference.look_up(word)[:MOST_HOMOGRAPHS]
        assert list(map(facts, looked_up(thousands.tenant, word))) == [each.facts for each in wanted], word
        seen.update({each.match for each in wanted} | {min(len(wanted), 2)})
    # None, one, and several.
    assert min(seen[each] for each in (*MATCHES[1:3], 0, 1, 2)) >= 20, seen


def test_all_of_them_are_looked_at(reference: Reference) -> None:
    """The control: what is compared above is within the bound."""
    begun: dict[tuple[str, int], Having] = defaultdict(set)
    for whole, having in reference.wholes.items():
        for length in range(1, ANYWHERE):
            begun[whole[:length], length] |= having
    for word, having in reference.words.items():
        begun[word[:ANYWHERE], ANYWHERE] |= having
    assert MOST // 2 < max(map(len, begun.values())) <= MOST
    assert MOST // 4 < max(map(len, reference.words.values())) <= MOST


# Beyond the bound ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(first_tenant: Tenant) -> tuple[Tenant, Sequence[Entry]]:
    """A dictionary with words of which not all entries are looked at. Tests only read."""
    tenant = another_tenant(first_tenant)
    dictionary_id = made(tenant, DICTIONARIES, new_dictionary())["id"]
    common = [
        Entry(f"word{number:03}", "noun", 0, float(number), definitions=[f"common usual {'rare' * (number == 3)}"])
        for number in range(1, 601)
    ]
    named = [Entry(f"common {number:03}", "noun", 0, 0.0, definitions=["usual"]) for number in range(20)]
    same = [Entry("same", "noun" if number < 60 else "verb", number % 60, float(number)) for number in range(120)]
    return tenant, imported(tenant, dictionary_id, [*common, *named, *same])


def test_of_a_common_word_the_best_are_looked_at(crowded: tuple[Tenant, Sequence[Entry]]) -> None:
    """By what was met, and then the most common."""
    tenant, _ = crowded
    most_common = [f"word{number:03}" for number in range(600, 600 - MOST + 20, -1)]
    found = headwords(hits(tenant, "common"))
    assert found == [*(f"common {number:03}" for number in range(20)), *most_common]
    # Typos are forgiven in headwords, so that only those are found.
    assert headwords(hits(tenant, "comon")) == found[:20]


def test_a_rare_word_finds_its_entry_among_those_of_a_common_one(crowded: tuple[Tenant, Sequence[Entry]]) -> None:
    tenant, _ = crowded
    assert "word003" not in headwords(hits(tenant, "common"))
    assert headwords(hits(tenant, "rare")) == ["word003"]
    for q in ("common rare", "rare common", "usual common rare"):
        assert headwords(hits(tenant, q)) == ["word003"], q
    both = headwords(hits(tenant, "usual common"))
    assert len(both) == len(set(both)) == MOST
    assert "word003" not in both


def test_a_word_has_at_most_a_hundred_homographs(crowded: tuple[Tenant, Sequence[Entry]]) -> None:
    tenant, entries = crowded
    same = sorted((each for each in entries if each.headword == "same"), key=lambda each: -each.frequency)
    assert [facts(hit)[0] for hit in looked_up(tenant, "same")] == [each.id for each in same[:MOST_HOMOGRAPHS]]
    assert len(hits(tenant, "same")) == len(same)


def test_of_what_begins_so_the_most_common_is_suggested_first(tenant: Tenant) -> None:
    dictionary_id = made(tenant, DICTIONARIES, new_dictionary())["id"]
    published(tenant, dictionary_id, "wentletrap", frequency=1.0)
    published(tenant, dictionary_id, "go", frequency=1_000.0, forms=[{"text": "wentest"}])
    assert [headword for headword, *_ in suggested(tenant, "wen")] == ["go", "wentletrap"]


def test_typos_are_forgiven_in_both_spellings_of_an_umlaut(tenant: Tenant) -> None:
    dictionary_id = made(tenant, DICTIONARIES, new_dictionary("de"))["id"]
    published(tenant, dictionary_id, "Zuerich")
    assert headwords(hits(tenant, "Zürich")) == ["Zuerich"]
    assert headwords(hits(tenant, "Zürch")) == ["Zuerich"]


@pytest.mark.parametrize(("language", "word"), [("hi", "विद्यालय"), ("ta", "பள்ளிக்கூடம்")])
def test_typos_are_forgiven_in_words_with_vowel_signs(tenant: Tenant, language: str, word: str) -> None:
    dictionary_id = made(tenant, DICTIONARIES, new_dictionary(language))["id"]
    published(tenant, dictionary_id, word)
    assert headwords(hits(tenant, word)) == [word]
    assert headwords(hits(tenant, word[:-2] + word[-1])) == [word]
