"""Looking words up: what is found by which words, why, and in which order."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.clients import Tenant, another_tenant, new_member, problem, rows
from tests.contract.instances import made
from tests.domains.dictionary.instances import DICTIONARIES, ENTRIES, new_dictionary, new_entry, published

SEARCH, SUGGEST, WORDS = (f"/api/v1/dictionary/{name}" for name in ("search", "suggest", "words"))


def means(*definitions: str, **more: Any) -> dict[str, Any]:
    return {"senses": [{"definitions": list(definitions)} | more]}


@pytest.fixture(scope="module")
def english(first_tenant: Tenant) -> dict[str, Any]:
    """A dictionary in a tenant of its own. Tests only read."""
    tenant = another_tenant(first_tenant)
    dictionary_id = made(tenant, DICTIONARIES, new_dictionary("en"))["id"]
    for headword, part, frequency, body in (
        ("the", "article", 50_000.0, means("Names what is known.")),
        ("run", "verb", 300.0, means("To move fast.") | {"forms": [{"text": "ran"}, {"text": "running"}]}),
        ("run", "noun", 100.0, means("A fast movement.", examples=[{"text": "She went for a run."}])),
        ("random", "adjective", 40.0, means("By chance.")),
        ("ice cream", "noun", 20.0, means("A sweet, frozen food made of cream.")),
        ("cream", "noun", 30.0, means("The fat of milk.") | {"forms": [{"text": "creams"}]}),
        ("resume", "verb", 10.0, means("To go on.")),
        ("résumé", "noun", 5.0, means("A short account of a life.")),
        (
            "accommodate",
            "verb",
            9.0,
            means("To have room for.", translations=[{"language": "de", "text": "beherbergen"}]),
        ),
        ("don't", "verb", 80.0, means("Do not.")),
        ("?", "symbol", 0.0, means("Asks.")),
    ):
        published(tenant, dictionary_id, headword, partOfSpeech=part, frequency=frequency, **body)
    made(tenant, ENTRIES, new_entry(dictionary_id, "secret draft"))
    return {"tenant": tenant, "id": dictionary_id}


def hits(tenant: Tenant, q: str, **options: Any) -> list[dict[str, Any]]:
    response = tenant.rest.get(SEARCH, {"q": q} | options)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["hits"]
    return found


def words(found: list[dict[str, Any]]) -> list[str]:
    return [f"{hit['dictionaryEntry']['headword']} {hit['dictionaryEntry']['partOfSpeech']}" for hit in found]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        # No word is too common to be found.
        ("the", ["the article", "cream noun"]),
        ("run", ["run verb", "run noun"]),
        ("RUN", ["run verb", "run noun"]),
        # A form leads to its headword; a longer headword comes before it.
        ("running", ["run verb"]),
        ("ran", ["random adjective", "run verb"]),
        # What is spelled as it was asked for comes first, though it is less common.
        ("résumé", ["résumé noun", "resume verb"]),
        ("resume", ["resume verb", "résumé noun"]),
        ("re\u0301sume\u0301", ["résumé noun", "resume verb"]),
        # Headwords before definitions, and whole headwords before longer ones.
        ("cream", ["cream noun", "ice cream noun"]),
        ("ice cream", ["ice cream noun"]),
        ("cream ice", ["ice cream noun"]),
        ("frozen food", ["ice cream noun"]),
        ("fast", ["run verb", "run noun"]),
        ("beherbergen", ["accommodate verb"]),
        ("beherb", ["accommodate verb"]),
        # Typos: one in five letters; two in nine, one of them behind the sixth letter, or of doubled letters.
        ("craem", ["cream noun", "ice cream noun"]),
        ("acommodate", ["accommodate verb"]),
        ("acomodate", ["accommodate verb"]),
        ("accomodtae", ["accommodate verb"]),
        ("acocmmodate", ["accommodate verb"]),
        ("cacomomdate", []),
        ("acomodat", []),
        ("dont", []),
        ("don\u2019t", ["don't verb"]),
        ("?", ["? symbol"]),
        ("secret draft", []),
        ("zzz", []),
        ("", []),
    ],
)
def test_words_find_entries_in_their_order(english: dict[str, Any], q: str, expected: list[str]) -> None:
    assert words(hits(english["tenant"], q)) == expected


def test_a_hit_says_why_it_was_found(english: dict[str, Any]) -> None:
    tenant = english["tenant"]

    def why(q: str) -> tuple[str, list[str], int]:
        first = hits(tenant, q)[0]
        return first["matchedBy"], first["matchedTerms"], first["typos"]

    assert why("run") == ("MATCH_HEADWORD", ["run"], 0)
    assert why("running") == ("MATCH_FORM", ["running"], 0)
    assert why("beherbergen") == ("MATCH_TRANSLATION", ["beherbergen"], 0)
    assert why("frozen food") == ("MATCH_DEFINITION", ["frozen", "food"], 0)
    assert why("she went") == ("MATCH_EXAMPLE", ["she", "went"], 0)
    assert why("acomodate") == ("MATCH_HEADWORD", ["accommodate"], 2)


def test_a_search_is_narrowed_and_paged(english: dict[str, Any]) -> None:
    tenant = english["tenant"]
    assert words(hits(tenant, "run", partOfSpeech="noun")) == ["run noun"]
    assert words(hits(tenant, "run", language="de")) == []
    assert words(hits(tenant, "run", language="en", dictionaryId=english["id"])) == ["run verb", "run noun"]
    first = tenant.rest.get(SEARCH, {"q": "run", "pageSize": 1}).json()
    assert first["totalSize"] == 2
    second = tenant.rest.get(SEARCH, {"q": "run", "pageSize": 1, "pageToken": first["nextPageToken"]}).json()
    assert [words(page["hits"]) for page in (first, second)] == [["run verb"], ["run noun"]]
    assert second["nextPageToken"] == ""
    other = tenant.rest.get(SEARCH, {"q": "ran", "pageToken": first["nextPageToken"]})
    assert other.status_code == 400
    absent = tenant.rest.get(SEARCH, {"q": "run", "dictionaryId": tenant.id})
    assert absent.status_code == 404


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("r", [("run", "MATCH_HEADWORD", 0), ("random", "MATCH_HEADWORD", 0), ("resume", "MATCH_HEADWORD", 0)]),
        ("ran", [("run", "MATCH_FORM", 0), ("random", "MATCH_HEADWORD", 0)]),
        ("crea", [("cream", "MATCH_HEADWORD", 0)]),
        ("ice c", [("ice cream", "MATCH_HEADWORD", 0)]),
        ("acommodate", [("accommodate", "MATCH_HEADWORD", 1)]),
        ("résu", [("resume", "MATCH_HEADWORD", 0), ("résumé", "MATCH_HEADWORD", 0)]),
        ("zz", []),
    ],
)
def test_what_was_typed_suggests_headwords(
    english: dict[str, Any], q: str, expected: list[tuple[str, str, int]]
) -> None:
    response = english["tenant"].rest.get(SUGGEST, {"q": q, "limit": 3})
    assert response.status_code == 200, response.text
    found = [(each["headword"], each["matchedBy"], each["typos"]) for each in response.json()["suggestions"]]
    assert found == expected


def test_a_word_has_all_its_homographs_and_those_of_its_forms(english: dict[str, Any]) -> None:
    tenant = english["tenant"]
    assert words(tenant.rest.get(f"{WORDS}/Run").json()["hits"]) == ["run verb", "run noun"]
    assert words(tenant.rest.get(f"{WORDS}/ran").json()["hits"]) == ["run verb"]
    assert words(tenant.rest.get(f"{WORDS}/ice cream").json()["hits"]) == ["ice cream noun"]
    assert problem(tenant.rest.get(f"{WORDS}/crea")).reason == "RESOURCE_NOT_FOUND"


def test_letters_of_a_language_are_letters_of_their_own(tenant: Tenant) -> None:
    swedish = made(tenant, DICTIONARIES, new_dictionary("sv"))["id"]
    german = made(tenant, DICTIONARIES, new_dictionary("de"))["id"]
    turkish = made(tenant, DICTIONARIES, new_dictionary("tr"))["id"]
    published(tenant, swedish, "år")
    published(tenant, swedish, "ar")
    published(tenant, german, "Zürich")
    published(tenant, turkish, "ISI")
    entry = "dictionaryEntry"

    def found(q: str, dictionary_id: str = "") -> list[str]:
        return [hit[entry]["headword"] for hit in hits(tenant, q, dictionaryId=dictionary_id)]

    assert found("ar", swedish) == ["ar"]
    assert found("ÅR", swedish) == ["år"]
    assert found("zurich") == found("zuerich") == found("ZÜRICH") == ["Zürich"]
    assert found("\u0131s\u0131") == ["ISI"]
    assert found("isi") == []


def test_what_changes_is_found_as_it_is_now(tenant: Tenant) -> None:
    dictionary_id = made(tenant, DICTIONARIES, new_dictionary())["id"]
    draft = made(tenant, ENTRIES, new_entry(dictionary_id, "alpha"))
    path = f"{ENTRIES}/{draft['id']}"
    assert hits(tenant, "alpha") == []
    made(tenant, f"{path}/publish", {}, 200)
    assert words(hits(tenant, "alpha")) == ["alpha noun"]
    assert tenant.rest.patch(path, {"headword": "omega"}).status_code == 200
    assert hits(tenant, "alpha") == []
    assert words(hits(tenant, "omega")) == words(hits(tenant, "omeag")) == ["omega noun"]
    made(tenant, f"{path}/archive", {}, 200)
    assert hits(tenant, "omega") == []
    made(tenant, f"{path}/publish", {}, 200)
    assert tenant.rest.delete(path).status_code == 204
    assert hits(tenant, "omega") == []
    made(tenant, f"{path}/undelete", {}, 200)
    assert words(hits(tenant, "omega")) == ["omega noun"]
    # With its dictionary.
    assert tenant.rest.delete(f"{DICTIONARIES}/{dictionary_id}").status_code == 204
    assert hits(tenant, "omega") == []
    made(tenant, f"{DICTIONARIES}/{dictionary_id}/undelete", {}, 200)
    assert words(hits(tenant, "omega")) == ["omega noun"]


def test_another_tenant_finds_nothing_of_it(english: dict[str, Any], tenant: Tenant) -> None:
    assert hits(tenant, "run") == []
    assert tenant.rest.get(SUGGEST, {"q": "run"}).json()["suggestions"] == []
    assert tenant.rest.get(f"{WORDS}/run").status_code == 404
    absent = tenant.rest.get(SEARCH, {"q": "run", "dictionaryId": english["id"]})
    assert absent.status_code == 404


def test_the_word_of_a_day_stays_all_day(tenant: Tenant) -> None:
    path = "/api/v1/dictionary/word-of-the-day"
    assert tenant.rest.get(path).status_code == 404
    assert tenant.rest.get("/api/v1/dictionary/random").status_code == 404
    dictionary_id = made(tenant, DICTIONARIES, new_dictionary())["id"]
    for number in range(20):
        published(tenant, dictionary_id, f"word {number}")
    before = "UPDATE dictionary_entries SET publish_time = now() - interval '20 days' WHERE tenant_id = %s RETURNING id"
    assert len(rows(tenant.stack, before, tenant.id)) == 20
    today = datetime.now(UTC).date()
    first = tenant.rest.get(path).json()["id"]
    for number in range(30):
        published(tenant, dictionary_id, f"later {number}")
    assert tenant.rest.get(path).json()["id"] == first
    assert (
        tenant.rest.get(path, {"day.year": today.year, "day.month": today.month, "day.day": today.day}).json()["id"]
        == first
    )
    days = [today - timedelta(days=back) for back in range(10)]
    chosen = {
        tenant.rest.get(path, {"day.year": day.year, "day.month": day.month, "day.day": day.day}).json()["headword"]
        for day in days
    }
    assert len(chosen) > 3
    assert all(headword.startswith("word") for headword in chosen)
    late = today + timedelta(days=2)
    future = tenant.rest.get(path, {"day.year": late.year, "day.month": late.month, "day.day": late.day})
    assert problem(future).violations == {"day": ["is not after tomorrow"]}
    nowhere = tenant.rest.get(path, {"day.year": 2026, "day.month": 2, "day.day": 30})
    assert problem(nowhere).violations == {"day": ["is a day of the calendar"]}
    assert len({tenant.rest.get("/api/v1/dictionary/random").json()["id"] for _ in range(20)}) > 3


def test_what_is_not_found_is_counted_for_editors(tenant: Tenant) -> None:
    _, reader = new_member(tenant, "viewer")
    dictionary_id = made(tenant, DICTIONARIES, new_dictionary("de"))["id"]
    for _ in range(3):
        assert hits(tenant, "Fehlwort") == []
    assert hits(tenant, "fehlwort", dictionaryId=dictionary_id) == []
    path = "/api/v1/dictionary/missing"

    def missing(**options: Any) -> list[tuple[str, str, int]]:
        answer = tenant.rest.get(path, options).json()["missingWords"]
        return [(each["text"], each["language"], each["searches"]) for each in answer]

    tenant.stack.wait_for(lambda: missing() == [("fehlwort", "", 3), ("fehlwort", "de", 1)])
    assert missing(language="de") == [("fehlwort", "de", 1)]
    today = datetime.now(UTC).date()
    assert tenant.rest.get(path).json()["missingWords"][0]["lastDay"] == {
        "year": today.year,
        "month": today.month,
        "day": today.day,
    }
    refused = tenant.rest.get(path, headers={"authorization": f"Bearer {reader.access_token}"})
    assert refused.status_code == 403
