"""Imports and exports: what a file says is there, what it cannot say is told, and what leaves comes back the same."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from google.api.httpbody_pb2 import HttpBody
from plinth.dictionary.v1.dictionary_transfer_pb2 import (
    DICTIONARY_FORMAT_CSV,
    ON_CONFLICT_SKIP,
    ImportDictionaryRequest,
)

from tests.clients import TIMEOUT, Rest, Tenant, another_tenant, database, new_member, problem, reason, rows, unique
from tests.contract.instances import made
from tests.domains.dictionary.instances import (
    DICTIONARIES,
    ENTRIES,
    new_dictionary,
    new_entry,
    published,
)
from tests.domains.events import events_of
from tests.domains.sites.archives import done, ended

IMPORTS, EXPORT, SEARCH = (f"/api/v1/dictionary/{name}" for name in ("imports", "export", "search"))
OPERATIONS = "/api/v1/long-operations"
CSV, DMLEX, WIKTEXTRACT = (f"DICTIONARY_FORMAT_{name}" for name in ("CSV", "DMLEX", "WIKTEXTRACT"))
SKIP, REPLACE = "ON_CONFLICT_SKIP", "ON_CONFLICT_REPLACE"
BATCH = 200
"""Entries that are stored together (server/domains/dictionary/importing.py)."""
WRITTEN = (
    *("headword", "partOfSpeech", "homographNumber", "labels", "pronunciations", "forms", "senses"),
    *("etymology", "hyphenation", "frequency", "source", "licence"),
)


# Files ----------------------------------------------------------------------------------------------------------------


def lines(*values: object) -> bytes:
    """JSON Lines."""
    return b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)


def dmlex(*entries: object) -> bytes:
    """One object with these entries."""
    return json.dumps({"langCode": "en", "entries": entries}).encode()


def means(headword: str, *definitions: str, **more: Any) -> dict[str, Any]:
    """An entry of DMLex with a sense for each definition."""
    senses = [{"definitions": [{"text": each}]} for each in definitions]
    return {"headword": headword, "partsOfSpeech": ["noun"], "senses": senses} | more


def table(*rows: Sequence[object], header: str = "headword,part_of_speech,definition") -> bytes:
    """CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([header.split(","), *rows])
    return text.getvalue().encode()


def numbered(count: int) -> bytes:
    """CSV with this many entries, in the order of the alphabet."""
    return table(*((f"word {number:04}", "noun", f"Number {number}.") for number in range(count)))


# Calls ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dictionary_id(tenant: Tenant) -> str:
    return dictionary_of(tenant)


def dictionary_of(tenant: Tenant, language: str = "en", **body: Any) -> str:
    found: str = made(tenant, DICTIONARIES, new_dictionary(language, **body))["id"]
    return found


def begin(
    rest: Rest, dictionary_id: str, data: bytes, content_type: str = "application/octet-stream", **options: Any
) -> httpx.Response:
    """Begin to import a file."""
    query = {"dictionaryId": dictionary_id} | options
    return rest.request("POST", IMPORTS, params=query, content=data, headers={"content-type": content_type})


def imported(tenant: Tenant, dictionary_id: str, data: bytes, **options: Any) -> dict[str, Any]:
    """The operation of an import that succeeds."""
    return done(tenant, begin(tenant.rest, dictionary_id, data, **options))


def counts(**some: int) -> dict[str, int]:
    """The result of an import; what is not named is 0."""
    return dict.fromkeys(("created", "replaced", "unchanged", "skipped", "refused"), 0) | some


def report_of(tenant: Tenant, operation: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What was refused, by its line."""
    answer = tenant.rest.get(f"{OPERATIONS}/{operation['id']}/file")
    assert answer.status_code == 200, answer.text
    told = [json.loads(line) for line in answer.text.splitlines()]
    found = {each["line"]: each for each in told}
    assert len(found) == len(told), "each line is told once"
    return found


def entries_of(tenant: Tenant, dictionary_id: str) -> list[dict[str, Any]]:
    """All entries of a dictionary, drafts too, by their headwords."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = tenant.rest.get(ENTRIES, {"dictionaryId": dictionary_id, "pageSize": 200, "pageToken": token}).json()
        found += page["dictionaryEntries"]
        token = page["nextPageToken"]
        if not token:
            return found


def only(tenant: Tenant, dictionary_id: str) -> dict[str, Any]:
    """The only entry of a dictionary."""
    [entry] = entries_of(tenant, dictionary_id)
    return entry


def definitions(entry: dict[str, Any]) -> list[str]:
    return [each for sense in entry["senses"] for each in sense["definitions"]]


def said(tenant: Tenant, dictionary_id: str) -> dict[str, list[str]]:
    """The definitions of each headword."""
    return {entry["headword"]: definitions(entry) for entry in entries_of(tenant, dictionary_id)}


def content_of(entry: dict[str, Any]) -> dict[str, Any]:
    """What an entry says: no ids, and nothing that is empty."""
    content = _given({name: entry[name] for name in WRITTEN})
    for sense in content.get("senses", ()):
        del sense["id"]
    return dict(content)


def _given(value: Any) -> Any:
    if isinstance(value, list):
        return [_given(each) for each in value]
    if isinstance(value, dict):
        return {key: _given(each) for key, each in value.items() if each not in ("", 0, [], None)}
    return value


def found(tenant: Tenant, q: str) -> list[str]:
    """The headwords that a search finds."""
    response = tenant.rest.get(SEARCH, {"q": q})
    assert response.status_code == 200, response.text
    return [hit["dictionaryEntry"]["headword"] for hit in response.json()["hits"]]


def exported(tenant: Tenant, dictionary_id: str, **options: Any) -> bytes:
    response = tenant.rest.get(EXPORT, {"dictionaryId": dictionary_id} | options)
    assert response.status_code == 200, response.text
    return response.content


def words_in(content: bytes) -> list[str]:
    """The headwords of an export, in either form."""
    if content.startswith(b"{"):
        return [entry["headword"] for entry in json.loads(content)["entries"]]
    return [row["headword"] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))]


def event_types(tenant: Tenant) -> list[str]:
    """The types of the events about dictionaries and entries, oldest first."""
    return [event.type for event in events_of(tenant.stack, tenant.id) if event.type.startswith("dictionary")]


def work_files(tenant: Tenant) -> list[str]:
    """The files of operations that are stored."""
    folder = tenant.stack.settings.data_dir / "files" / "work" / tenant.id
    return [str(path) for path in folder.rglob("*") if path.is_file()]


# Importing ------------------------------------------------------------------------------------------------------------

COLOUR_OF_WIKTEXTRACT = {
    "word": "colour",
    "lang_code": "en",
    "pos": "noun",
    "etymology_number": 1,
    "etymology_text": "From Latin color.",
    "forms": [{"form": "colours", "tags": ["plural"]}],
    "sounds": [{"ipa": "/\u02c8kʌl.ə/", "tags": ["UK"]}],
    "hyphenations": [{"parts": ["col", "our"]}],
    "tags": ["common"],
    "senses": [
        {
            "glosses": ["What the eye sees of light."],
            "tags": ["uncountable"],
            "examples": [{"text": "Bees see colour.", "ref": "A book", "translation": "Bienen sehen Farbe."}],
            "translations": [{"code": "de", "word": "Farbe"}],
            "synonyms": [{"word": "hue"}],
        },
        {"glosses": ["A paint."]},
    ],
}
COLOUR_OF_DMLEX = {
    "headword": "colour",
    "homographNumber": "1",
    "partsOfSpeech": ["noun"],
    "labels": ["common"],
    "pronunciations": [{"transcriptions": [{"text": "/\u02c8kʌl.ə/"}], "labels": ["UK"]}],
    "inflectedForms": [{"text": "colours", "tag": "plural"}],
    "etymologies": [{"description": "From Latin color."}],
    "senses": [
        {
            "labels": ["uncountable"],
            "definitions": [{"text": "What the eye sees of light."}],
            "examples": [
                {
                    "text": "Bees see colour.",
                    "sourceElaboration": "A book",
                    "exampleTranslations": [{"text": "Bienen sehen Farbe."}],
                }
            ],
            "headwordTranslations": [{"langCode": "de", "text": "Farbe"}],
            "x-plinth": {"relations": [{"type": "synonym", "text": "hue"}]},
        },
        {"definitions": [{"text": "A paint."}]},
    ],
    "x-plinth": {"hyphenation": "col·our"},
}
COLOUR = {
    "headword": "colour",
    "partOfSpeech": "noun",
    "homographNumber": 1,
    "labels": ["common"],
    "pronunciations": [{"transcription": "/\u02c8kʌl.ə/", "labels": ["UK"]}],
    "forms": [{"text": "colours", "tag": "plural"}],
    "senses": [
        {
            "labels": ["uncountable"],
            "definitions": ["What the eye sees of light."],
            "examples": [{"text": "Bees see colour.", "source": "A book", "translation": "Bienen sehen Farbe."}],
            "translations": [{"language": "de", "text": "Farbe"}],
            "relations": [{"type": "TYPE_SYNONYM", "text": "hue"}],
        },
        {"definitions": ["A paint."]},
    ],
    "etymology": "From Latin color.",
    "hyphenation": "col·our",
}
COLOUR_AS_TABLE = """\
headword,part_of_speech,homograph_number,labels,pronunciation,forms,definition,example,frequency,etymology,source,\
licence,translation_de
colour,noun,1,common|British,/\u02c8kʌl.ə/,colours|colors,What the eye sees of light.|Light.,Bees see colour.,85.5,\
From Latin color.,https://example.com,CC0-1.0,Farbe|Kolorit
colour,noun,1,,,,A paint.,,,,,,
sun,noun,,,,,It shines.,,,,,,Sonne
"""
COLOUR_OF_TABLE = {
    "headword": "colour",
    "partOfSpeech": "noun",
    "homographNumber": 1,
    "labels": ["common", "British"],
    "pronunciations": [{"transcription": "/\u02c8kʌl.ə/"}],
    "forms": [{"text": "colours"}, {"text": "colors"}],
    "senses": [
        {
            "definitions": ["What the eye sees of light.", "Light."],
            "examples": [{"text": "Bees see colour."}],
            "translations": [{"language": "de", "text": "Farbe"}, {"language": "de", "text": "Kolorit"}],
        },
        {"definitions": ["A paint."]},
    ],
    "etymology": "From Latin color.",
    "frequency": 85.5,
    "source": "https://example.com",
    "licence": "CC0-1.0",
}
SUN_OF_WIKTEXTRACT = {
    "word": "sun",
    "lang_code": "en",
    "pos": "noun",
    "senses": [{"glosses": ["It shines."]}],
    "translations": [{"code": "de", "word": "Sonne"}],
}
SUN_OF_DMLEX = means("sun") | {
    "senses": [{"definitions": [{"text": "It shines."}], "headwordTranslations": [{"langCode": "de", "text": "Sonne"}]}]
}
SUN = {
    "headword": "sun",
    "partOfSpeech": "noun",
    "senses": [{"definitions": ["It shines."], "translations": [{"language": "de", "text": "Sonne"}]}],
}
FORMS = {
    "wiktextract": (WIKTEXTRACT, "application/x-ndjson", lines(COLOUR_OF_WIKTEXTRACT, SUN_OF_WIKTEXTRACT), COLOUR, 2),
    "dmlex": (DMLEX, "application/json", dmlex(COLOUR_OF_DMLEX, SUN_OF_DMLEX), COLOUR, 2),
    "lines of dmlex": (DMLEX, "application/jsonl", lines(COLOUR_OF_DMLEX, SUN_OF_DMLEX), COLOUR, 2),
    # The place of an entry is its first row, and the first line is the header.
    "csv": (CSV, "text/csv", COLOUR_AS_TABLE.encode(), COLOUR_OF_TABLE, 4),
}


@pytest.mark.parametrize("name", FORMS)
def test_entries_say_what_the_file_says_whether_its_form_is_named_or_found(tenant: Tenant, name: str) -> None:
    form, content_type, data, colour, last = FORMS[name]
    for options in ({"format": form}, {}):
        dictionary_id = dictionary_of(tenant)
        # What is cached before must not be shown afterwards.
        assert entries_of(tenant, dictionary_id) == []
        operation = imported(tenant, dictionary_id, data, content_type=content_type, **options)
        assert operation["kind"] == "dictionary_import"
        assert operation["result"] == counts(created=2)
        assert (operation["done"], operation["message"]) == (last, "sun")
        entries = entries_of(tenant, dictionary_id)
        assert [content_of(entry) for entry in entries] == [colour, SUN]
        assert {(entry["state"], entry["language"], entry["revisionNumber"]) for entry in entries} == {
            ("STATE_DRAFT", "en", 0)
        }
        assert all(sense["id"] for entry in entries for sense in entry["senses"])
    # The file itself is not kept.
    assert work_files(tenant) == []


def test_one_event_tells_of_an_import_and_none_of_its_entries(tenant: Tenant, dictionary_id: str) -> None:
    imported(tenant, dictionary_id, numbered(3), publish=True)
    assert event_types(tenant) == ["dictionary.created", "dictionary.import_started", "dictionary.imported"]
    [told] = [event for event in events_of(tenant.stack, tenant.id) if event.type == "dictionary.imported"]
    assert told.resource_id == dictionary_id


def test_entries_are_drafts_unless_they_are_to_be_published(tenant: Tenant) -> None:
    drafts, shown = dictionary_of(tenant), dictionary_of(tenant)
    _, session = new_member(tenant, "member")
    reader = Rest(tenant.stack, session.access_token)
    imported(tenant, drafts, table(("draft", "noun", "Unfinished.")))
    imported(tenant, shown, table(("shown", "noun", "Finished.")), publish=True)
    assert (only(tenant, drafts)["state"], only(tenant, drafts).get("publishTime")) == ("STATE_DRAFT", None)
    assert only(tenant, shown)["state"] == "STATE_PUBLISHED"
    assert only(tenant, shown)["publishTime"]
    assert found(tenant, "draft") == found(tenant, "unfinished") == []
    assert found(tenant, "shown") == found(tenant, "finished") == ["shown"]
    # Typos are forgiven too.
    assert found(tenant, "shonw") == ["shown"]
    assert [entry["headword"] for entry in reader.get(ENTRIES).json()["dictionaryEntries"]] == ["shown"]


def test_a_form_of_a_browser_brings_a_file(tenant: Tenant, dictionary_id: str) -> None:
    form = {"file": ("words.csv", numbered(2), "text/csv")}
    started = tenant.rest.request("POST", IMPORTS, params={"dictionaryId": dictionary_id}, files=form)
    assert done(tenant, started)["result"] == counts(created=2)
    assert list(said(tenant, dictionary_id)) == ["word 0000", "word 0001"]


def test_a_service_sends_a_file_in_pieces(tenant: Tenant, dictionary_id: str) -> None:
    data = numbered(BATCH + 50)

    def pieces() -> Iterator[ImportDictionaryRequest]:
        yield ImportDictionaryRequest(
            dictionary_id=dictionary_id,
            format=DICTIONARY_FORMAT_CSV,
            on_conflict=ON_CONFLICT_SKIP,
            publish=True,
            file=HttpBody(content_type="text/csv", data=data[:1000]),
        )
        for start in range(1000, len(data), 1000):
            yield ImportDictionaryRequest(file=HttpBody(data=data[start : start + 1000]))

    stub = tenant.stubs["plinth.dictionary.v1.DictionaryTransferService"]
    metadata = (("authorization", f"Bearer {tenant.access_token}"),)
    operation = stub.ImportDictionary(pieces(), metadata=metadata, timeout=TIMEOUT)
    assert operation.kind == "dictionary_import"
    path = f"{OPERATIONS}/{operation.id}"
    tenant.stack.wait_for(lambda: "endTime" in tenant.rest.get(path).json())
    assert tenant.rest.get(path).json()["result"] == counts(created=BATCH + 50)
    entries = entries_of(tenant, dictionary_id)
    assert len({entry["headword"] for entry in entries}) == len(entries) == BATCH + 50
    assert {entry["state"] for entry in entries} == {"STATE_PUBLISHED"}


# What is refused ------------------------------------------------------------------------------------------------------


def test_what_is_refused_is_reported_line_by_line_and_stops_nothing_else(tenant: Tenant, dictionary_id: str) -> None:
    unfit = means("unfit", "A word.", labels=["x" * 61])
    twice = "0190a6f0-0000-7000-8000-000000000001"
    ambiguous = means("ambiguous") | {"senses": [{"id": twice, "definitions": [{"text": "One."}]}] * 2}
    data = b"".join(
        (
            lines(means("first", "It is.")),
            lines(means("w" * 201, "Too long.")),
            b'{"headword": oops}\n',
            b"\n",
            lines(means("empty")),
            lines(unfit),
            lines(means("misshapen", labels="no list")),
            b'{"headword": "\xff"}\n',
            lines(ambiguous),
            lines(means("", "Nameless.")),
            lines(means("last", "It is.")),
        )
    )
    operation = imported(tenant, dictionary_id, data, format=DMLEX, publish=True)
    assert operation["result"] == counts(created=2, refused=8)
    assert said(tenant, dictionary_id) == {"first": ["It is."], "last": ["It is."]}
    report = report_of(tenant, operation)
    assert all(set(each) == {"line", "headword", "error"} for each in report.values())
    assert {line: each["headword"] for line, each in report.items()} == {
        2: "w" * 200,
        3: "",
        5: "empty",
        6: "unfit",
        7: "misshapen",
        8: "",
        9: "ambiguous",
        10: "",
    }
    for line, words in (
        (2, "headword: must have at most 200 characters"),
        (3, "must be JSON"),
        (5, "has no definition and no translation"),
        (6, "labels[0]"),
        (7, "labels: must be a list"),
        (8, "must be UTF-8"),
        (9, "senses[0].id is that of another sense too"),
        (10, "headword: must not be empty"),
    ):
        assert words in report[line]["error"]


def test_the_report_is_a_file_of_the_operation(tenant: Tenant, dictionary_id: str) -> None:
    operation = imported(tenant, dictionary_id, lines(means("fine", "It is."), means("ü" * 201, "Too long.")))
    file = operation["file"]
    answer = tenant.rest.get(f"{OPERATIONS}/{operation['id']}/file")
    assert answer.headers["content-type"] == file["contentType"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == f'attachment; filename="import-{operation["id"]}.jsonl"'
    assert (file["size"], file["sha256"]) == (len(answer.content), hashlib.sha256(answer.content).hexdigest())
    assert json.loads(answer.content)["headword"] == "ü" * 200


def test_there_is_no_report_if_nothing_is_refused(tenant: Tenant, dictionary_id: str) -> None:
    operation = imported(tenant, dictionary_id, numbered(2))
    assert "file" not in operation
    refused = tenant.rest.get(f"{OPERATIONS}/{operation['id']}/file")
    assert problem(refused).metadata["state"] == "NO_FILE"


def test_rows_that_are_refused_take_no_other_ones_with_them(tenant: Tenant, dictionary_id: str) -> None:
    header = "headword,homograph_number,definition,frequency"
    rows = [
        ("a", "", "The first letter.", ""),
        ("b", "many", "The second letter.", ""),
        ("c", "", "The third letter.", "often"),
        ("d", "", "The fourth letter.", "", "too much"),
        ("e", "", "", ""),
        ("f", "", "The sixth letter.", ""),
    ]
    operation = imported(tenant, dictionary_id, table(*rows, header=header), publish=True)
    assert operation["result"] == counts(created=2, refused=4)
    assert {line: each["headword"] for line, each in report_of(tenant, operation).items()} == {
        3: "b",
        4: "c",
        5: "d",
        6: "e",
    }
    assert list(said(tenant, dictionary_id)) == ["a", "f"]


def test_two_senses_have_one_id_however_it_is_written(tenant: Tenant, dictionary_id: str) -> None:
    low = "0190a6f0-0000-7000-8000-00000000000a"
    senses = [{"id": each, "definitions": [{"text": "It is."}]} for each in (low, low.upper())]
    operation = imported(tenant, dictionary_id, lines(means("ambiguous") | {"senses": senses}, means("b", "It is.")))
    assert operation["result"] == counts(created=1, refused=1)
    assert report_of(tenant, operation)[1]["headword"] == "ambiguous"


def test_what_is_refused_is_reported_of_every_batch(tenant: Tenant, dictionary_id: str) -> None:
    size = 2 * BATCH + 50
    too_long, empty = {7, BATCH + 7, 2 * BATCH + 7}, {9, BATCH + 9, 2 * BATCH + 9}
    rows = [
        ("w" * 201 if number in too_long else f"word {number:04}", "noun", "" if number in empty else "It is.")
        for number in range(size)
    ]
    operation = imported(tenant, dictionary_id, table(*rows), publish=True)
    assert operation["result"] == counts(created=size - 6, refused=6)
    # Rows are numbered from 1, and the first one is the header.
    assert report_of(tenant, operation).keys() == {number + 2 for number in too_long | empty}
    assert len(entries_of(tenant, dictionary_id)) == size - 6


def test_a_draft_needs_no_definition(tenant: Tenant, dictionary_id: str) -> None:
    assert imported(tenant, dictionary_id, lines(means("later")))["result"] == counts(created=1)
    assert only(tenant, dictionary_id)["state"] == "STATE_DRAFT"


def test_lines_of_other_languages_and_redirects_are_skipped(tenant: Tenant) -> None:
    dictionary_id = dictionary_of(tenant, "de-AT")
    sense = {"pos": "noun", "senses": [{"glosses": ["A house."]}]}
    data = lines(
        {"word": "house", "lang_code": "en"} | sense,
        {"word": "Haus", "lang_code": "de"} | sense,
        {"title": "Häuser", "redirect": "Haus"},
        {"word": "huis", "lang_code": "nl"} | sense,
        {"word": "Nichts", "lang_code": "de", "pos": "noun", "senses": [{"tags": ["no-gloss"]}]},
    )
    operation = imported(tenant, dictionary_id, data, publish=True)
    assert operation["result"] == counts(created=1, skipped=4)
    assert "file" not in operation
    assert list(said(tenant, dictionary_id)) == ["Haus"]


# What is there already ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"onConflict": SKIP}])
def test_what_is_there_stays_as_it_is(tenant: Tenant, dictionary_id: str, options: dict[str, str]) -> None:
    there = published(tenant, dictionary_id, "word", senses=[{"definitions": ["As it was."]}])
    data = table(("word", "noun", "Otherwise."), ("word", "verb", "Another part."), ("new", "noun", "It is."))
    operation = imported(tenant, dictionary_id, data, publish=True, **options)
    assert operation["result"] == counts(created=2, skipped=1)
    assert tenant.rest.get(f"{ENTRIES}/{there['id']}").json() == there
    assert found(tenant, "otherwise") == []


def test_what_is_there_is_replaced_and_kept_as_a_revision(tenant: Tenant, dictionary_id: str) -> None:
    senses = [{"definitions": ["Kept."]}, {"definitions": ["Vanishing."]}]
    there = published(tenant, dictionary_id, "word", senses=senses, etymology="old", labels=["old"])
    path = f"{ENTRIES}/{there['id']}"
    # What is cached before must not be shown afterwards.
    assert tenant.rest.get(path).json() == there
    assert found(tenant, "vanishing") == ["word"]
    data = table(("word", "noun", "Kept."), ("word", "noun", "Appearing."), ("new", "noun", "It is."))
    operation = imported(tenant, dictionary_id, data, onConflict=REPLACE)
    assert operation["result"] == counts(created=1, replaced=1)
    now = tenant.rest.get(path).json()
    assert (definitions(now), now["etymology"], now["labels"]) == (["Kept.", "Appearing."], "", [])
    # What is published stays published, and what others may refer to stays what it is.
    assert (now["state"], now["revisionNumber"]) == ("STATE_PUBLISHED", 1)
    assert now["senses"][0]["id"] == there["senses"][0]["id"]
    assert now["senses"][1]["id"] not in {sense["id"] for sense in there["senses"]}
    assert now["etag"] != there["etag"]
    [revision] = tenant.rest.get(f"{path}/revisions").json()["dictionaryRevisions"]
    assert revision["number"] == 1
    assert content_of(revision["content"]) == content_of(there)
    assert found(tenant, "vanishing") == []
    assert found(tenant, "appearing") == ["word"]
    assert "dictionary_entry.updated" not in event_types(tenant)


@pytest.mark.parametrize("name", FORMS)
def test_the_same_file_again_changes_nothing(tenant: Tenant, dictionary_id: str, name: str) -> None:
    data = FORMS[name][2]
    imported(tenant, dictionary_id, data, publish=True)
    before = entries_of(tenant, dictionary_id)
    operation = imported(tenant, dictionary_id, data, publish=True, onConflict=REPLACE)
    assert operation["result"] == counts(unchanged=2)
    assert entries_of(tenant, dictionary_id) == before


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([("", "Sonne")], id="a sense without a definition"),
        pytest.param([("It shines.", "Sonne"), ("It shines.", "Stern")], id="two senses with one definition"),
    ],
)
def test_the_same_senses_again_change_nothing(tenant: Tenant, dictionary_id: str, rows: list[tuple[str, str]]) -> None:
    data = table(*(("sun", *row) for row in rows), header="headword,definition,translation_de")
    imported(tenant, dictionary_id, data, publish=True)
    before = only(tenant, dictionary_id)
    operation = imported(tenant, dictionary_id, data, publish=True, onConflict=REPLACE)
    assert only(tenant, dictionary_id) == before
    assert operation["result"] == counts(unchanged=1)


def test_a_published_entry_is_not_replaced_by_one_that_says_nothing(tenant: Tenant, dictionary_id: str) -> None:
    there = published(tenant, dictionary_id, "word")
    operation = imported(tenant, dictionary_id, lines(means("word")), onConflict=REPLACE)
    assert operation["result"] == counts(refused=1)
    assert report_of(tenant, operation)[1]["headword"] == "word"
    assert tenant.rest.get(f"{ENTRIES}/{there['id']}").json() == there


def test_homographs_are_entries_of_their_own(tenant: Tenant, dictionary_id: str) -> None:
    rows = [
        ("bank", "noun", 1, "Where money is."),
        ("bank", "noun", 1, "Where blood is."),
        ("bank", "noun", 2, "The side of a river."),
        ("bank", "verb", "", "To fly on a side."),
        ("Bank", "noun", 1, "A name."),
    ]
    data = table(*rows, header="headword,part_of_speech,homograph_number,definition")
    assert imported(tenant, dictionary_id, data, publish=True)["result"] == counts(created=4)
    assert {
        (entry["headword"], entry["partOfSpeech"], entry["homographNumber"]): definitions(entry)
        for entry in entries_of(tenant, dictionary_id)
    } == {
        ("bank", "noun", 1): ["Where money is.", "Where blood is."],
        ("bank", "noun", 2): ["The side of a river."],
        ("bank", "verb", 0): ["To fly on a side."],
        ("Bank", "noun", 1): ["A name."],
    }
    operation = imported(tenant, dictionary_id, data, publish=True, onConflict=REPLACE)
    assert operation["result"] == counts(unchanged=4)


def far_apart(first: dict[str, Any], last: dict[str, Any], distance: int) -> bytes:
    """Two entries, with as many others between them."""
    return lines(first, *(means(f"between {number:04}", "It is.") for number in range(distance)), last)


def test_of_equal_entries_in_a_batch_one_is_there(tenant: Tenant, dictionary_id: str) -> None:
    # The same headword in two normal forms.
    data = far_apart(means("S\u00e4ge", "First."), means("Sa\u0308ge", "Last."), 3)
    assert imported(tenant, dictionary_id, data, publish=True)["result"] == counts(created=4, skipped=1)
    assert len(entries_of(tenant, dictionary_id)) == 4
    assert said(tenant, dictionary_id)["S\u00e4ge"] in (["First."], ["Last."])


@pytest.mark.parametrize("on_conflict", [SKIP, REPLACE])
def test_which_of_equal_entries_counts_does_not_depend_on_what_is_between_them(
    tenant: Tenant, on_conflict: str
) -> None:
    near, far = dictionary_of(tenant), dictionary_of(tenant)
    for dictionary_id, distance in ((near, 0), (far, BATCH)):
        imported(
            tenant,
            dictionary_id,
            far_apart(means("it", "First."), means("it", "Last."), distance),
            onConflict=on_conflict,
        )
    assert said(tenant, near)["it"] == said(tenant, far)["it"]


def test_an_entry_that_is_refused_does_not_take_an_equal_one_with_it(tenant: Tenant, dictionary_id: str) -> None:
    operation = imported(tenant, dictionary_id, lines(means("word", "It is."), means("word")), publish=True)
    assert report_of(tenant, operation).keys() == {2}
    assert said(tenant, dictionary_id) == {"word": ["It is."]}
    assert operation["result"] == counts(created=1, refused=1)


def test_imports_at_the_same_time_make_each_entry_once(tenant: Tenant, dictionary_id: str) -> None:
    size = 3 * BATCH
    upwards = [(f"word {number:04}", "noun", "It is.") for number in range(size)]
    started = [begin(tenant.rest, dictionary_id, table(*rows)) for rows in (upwards, upwards[::-1], upwards)]
    results = [done(tenant, each)["result"] for each in started]
    assert [sum(result[name] for result in results) for name in ("created", "skipped")] == [size, 2 * size]
    assert list(said(tenant, dictionary_id)) == [headword for headword, _, _ in upwards]


# Relations ------------------------------------------------------------------------------------------------------------


def related(tenant: Tenant, entry_id: str) -> list[tuple[str, str, bool]]:
    answer = tenant.rest.get(f"{ENTRIES}/{entry_id}/related").json()["relatedEntries"]
    return [(each["type"], each["headword"], each["isOutgoing"]) for each in answer]


def naming(headword: str, *relations: dict[str, str]) -> dict[str, Any]:
    """An entry of DMLex whose sense names others."""
    sense = {"definitions": [{"text": "It is."}], "x-plinth": {"relations": relations}}
    return means(headword) | {"senses": [sense]}


def test_relations_to_entries_that_are_there_are_found_from_both_ends(tenant: Tenant, dictionary_id: str) -> None:
    animal = published(tenant, dictionary_id, "animal")
    sense_id = animal["senses"][0]["id"]
    unknown = "0190a6f0-0000-7000-8000-000000000001"
    foreign = another_tenant(tenant)
    theirs = published(foreign, dictionary_of(foreign), "theirs")
    dog = naming(
        "dog",
        {"type": "hypernym", "entryId": animal["id"], "senseId": sense_id},
        {"type": "synonym", "text": "hound"},
        # What the tenant does not have is left out, and the entry stays.
        {"type": "antonym", "entryId": unknown},
        {"type": "antonym", "entryId": theirs["id"]},
        {"type": "see_also", "entryId": animal["id"], "senseId": unknown},
    )
    data = lines(
        dog,
        *(means(f"word {number:04}", "It is.") for number in range(BATCH)),
        naming("cat", {"type": "hypernym", "entryId": animal["id"].upper()}),
    )
    operation = imported(tenant, dictionary_id, data, publish=True)
    assert operation["result"] == counts(created=BATCH + 2)
    ids = {entry["headword"]: entry["id"] for entry in entries_of(tenant, dictionary_id)}
    assert related(tenant, ids["dog"]) == [("TYPE_SYNONYM", "hound", True), ("TYPE_HYPERNYM", "animal", True)]
    assert related(tenant, animal["id"]) == [("TYPE_HYPONYM", "cat", False), ("TYPE_HYPONYM", "dog", False)]
    again = imported(tenant, dictionary_id, data, publish=True, onConflict=REPLACE)
    assert again["result"] == counts(unchanged=BATCH + 2)
    # What a replacement names no more is not found any more.
    imported(tenant, dictionary_id, lines(means("dog", "It is.")), onConflict=REPLACE)
    assert related(tenant, animal["id"]) == [("TYPE_HYPONYM", "cat", False)]


def test_an_export_of_a_dictionary_brings_its_relations_back_to_it(tenant: Tenant, dictionary_id: str) -> None:
    animal = published(tenant, dictionary_id, "animal")
    relation = {"type": "TYPE_HYPERNYM", "relatedEntryId": animal["id"]}
    dog = published(tenant, dictionary_id, "dog", senses=[{"definitions": ["Barks."], "relations": [relation]}])
    data = exported(tenant, dictionary_id)
    changed = tenant.rest.patch(f"{ENTRIES}/{dog['id']}", {"senses": [{"definitions": ["Nothing."]}]})
    assert changed.status_code == 200
    assert related(tenant, animal["id"]) == []
    operation = imported(tenant, dictionary_id, data, onConflict=REPLACE)
    assert operation["result"] == counts(unchanged=1, replaced=1)
    assert related(tenant, animal["id"]) == [("TYPE_HYPONYM", "dog", False)]


# Who may, and what is no file -----------------------------------------------------------------------------------------


def holder(tenant: Tenant, *permissions: str) -> Rest:
    """Somebody who holds these permissions and no others."""
    name = unique("role")
    assert tenant.rest.post("rbac/roles", {"name": name, "permissions": permissions}).status_code == 201
    _, session = new_member(tenant, name)
    return Rest(tenant.stack, session.access_token)


def test_who_may_not_import_is_refused(tenant: Tenant, dictionary_id: str) -> None:
    _, member = new_member(tenant, "member")
    refused = begin(Rest(tenant.stack, member.access_token), dictionary_id, numbered(1))
    assert reason(refused) == (403, "PERMISSION_MISSING")
    importer = holder(tenant, "dictionary.entries.import")
    for options, needed in (
        ({"publish": True}, "dictionary.entries.publish"),
        ({"onConflict": REPLACE}, "dictionary.entries.update"),
    ):
        refused = begin(importer, dictionary_id, numbered(1), **options)
        assert reason(refused) == (403, "PERMISSION_MISSING")
        assert problem(refused).metadata["permission"] == needed
    tenant.stack.wait_for(lambda: work_files(tenant) == [])
    assert done(tenant, begin(importer, dictionary_id, numbered(1)))["result"] == counts(created=1)
    publisher = holder(tenant, "dictionary.entries.import", "dictionary.entries.publish")
    operation = done(tenant, begin(publisher, dictionary_id, numbered(2), publish=True))
    assert operation["result"] == counts(created=1, skipped=1)


def test_an_absent_dictionary_takes_nothing_in(tenant: Tenant, dictionary_id: str) -> None:
    foreign = another_tenant(tenant)
    gone = dictionary_of(tenant)
    assert tenant.rest.delete(f"{DICTIONARIES}/{gone}").status_code == 204
    for absent in (tenant.id, dictionary_of(foreign), gone):
        refused = begin(tenant.rest, absent, numbered(1))
        assert reason(refused) == (404, "RESOURCE_NOT_FOUND")
    assert problem(begin(tenant.rest, "", numbered(1))).violations
    tenant.stack.wait_for(lambda: work_files(tenant) == [])
    assert entries_of(tenant, dictionary_id) == []
    assert tenant.rest.get(OPERATIONS).json()["operations"] == []


def test_a_dictionary_that_is_deleted_meanwhile_takes_nothing_in(tenant: Tenant, dictionary_id: str) -> None:
    waits = "SELECT pid FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    with database(tenant.stack) as other:
        other.execute("SELECT FROM dictionaries WHERE id = %s FOR NO KEY UPDATE", (dictionary_id,))
        started = begin(tenant.rest, dictionary_id, numbered(1))
        tenant.stack.wait_for(lambda: rows(tenant.stack, waits, other.info.backend_pid))
        other.execute("UPDATE dictionaries SET delete_time = now() WHERE id = %s", (dictionary_id,))
    operation = ended(tenant, started)
    assert operation["state"] == "STATE_FAILED"
    assert operation["error"]["reason"] == "RESOURCE_NOT_FOUND"
    assert rows(tenant.stack, "SELECT id FROM dictionary_entries WHERE dictionary_id = %s", dictionary_id) == []
    tenant.stack.wait_for(lambda: work_files(tenant) == [])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \r\n", id="blank"),
        pytest.param(b"<!DOCTYPE html><html><head><title>headword</title>", id="html"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\0" * 100_000, id="an image"),
        pytest.param(b"word;definition\ncat;An animal\n", id="another header"),
        pytest.param(b'{"name": "something", "version": 1}', id="other json"),
    ],
)
def test_content_in_no_known_form_is_refused_at_once(tenant: Tenant, dictionary_id: str, data: bytes) -> None:
    assert reason(begin(tenant.rest, dictionary_id, data)) == (415, "CONTENT_TYPE_UNSUPPORTED")
    tenant.stack.wait_for(lambda: work_files(tenant) == [])
    assert tenant.rest.get(OPERATIONS).json()["operations"] == []


def test_another_content_type_is_refused(tenant: Tenant, dictionary_id: str) -> None:
    refused = begin(tenant.rest, dictionary_id, numbered(1), content_type="application/pdf")
    assert reason(refused) == (415, "CONTENT_TYPE_UNSUPPORTED")


def test_a_form_that_is_named_is_read_behind_a_bad_first_line(tenant: Tenant, dictionary_id: str) -> None:
    data = b"oops\n" + lines(SUN_OF_WIKTEXTRACT)
    operation = imported(tenant, dictionary_id, data, format=WIKTEXTRACT)
    assert operation["result"] == counts(created=1, refused=1)
    assert report_of(tenant, operation).keys() == {1}


@pytest.mark.parametrize(
    ("form", "data"),
    [(DMLEX, dmlex()), (DMLEX, b'{"entries": []}'), (CSV, b"headword\r\n"), (WIKTEXTRACT, b'{"redirect": "x"}\n')],
)
def test_a_file_without_entries_adds_none(tenant: Tenant, dictionary_id: str, form: str, data: bytes) -> None:
    operation = imported(tenant, dictionary_id, data, format=form)
    assert operation["result"] == counts(skipped=operation["done"])
    assert entries_of(tenant, dictionary_id) == []
    assert "dictionary.imported" in event_types(tenant)


def test_another_form_than_the_named_one_fails(tenant: Tenant, dictionary_id: str) -> None:
    operation = ended(tenant, begin(tenant.rest, dictionary_id, dmlex(COLOUR_OF_DMLEX), format="CSV"))
    assert operation["state"] == "STATE_FAILED"
    assert "no column `headword`" in operation["error"]["message"]


def cut_off(count: int) -> bytes:
    """DMLex that ends in the middle of the entry behind as many whole ones."""
    whole = dmlex(*(means(f"word {number:04}", "It is.") for number in range(count + 1)))
    return whole[: whole.index(f"word {count:04}".encode()) + 4]


def test_a_file_that_breaks_off_fails_behind_what_came_before(tenant: Tenant, dictionary_id: str) -> None:
    operation = ended(tenant, begin(tenant.rest, dictionary_id, cut_off(2 * BATCH)))
    assert operation["state"] == "STATE_FAILED"
    error = operation["error"]
    assert (error["code"], error["reason"]) == (3, "MALFORMED")
    assert error["message"].startswith("The file cannot be read further: ")
    assert f"not complete, after entry {2 * BATCH}" in error["message"]
    assert "result" not in operation
    assert operation["done"] == len(entries_of(tenant, dictionary_id)) == 2 * BATCH


def test_every_entry_before_the_break_is_there(tenant: Tenant, dictionary_id: str) -> None:
    operation = ended(tenant, begin(tenant.rest, dictionary_id, cut_off(BATCH + 5)))
    assert f"after entry {BATCH + 5}" in operation["error"]["message"]
    assert len(entries_of(tenant, dictionary_id)) == BATCH + 5


def test_nothing_is_left_of_a_file_that_breaks_off(tenant: Tenant, dictionary_id: str) -> None:
    assert ended(tenant, begin(tenant.rest, dictionary_id, cut_off(1)))["state"] == "STATE_FAILED"
    assert work_files(tenant) == []


def test_a_last_line_that_breaks_off_is_refused_and_no_other_one(tenant: Tenant, dictionary_id: str) -> None:
    operation = imported(tenant, dictionary_id, lines(means("a", "It is."), means("b", "It is."))[:-20])
    assert operation["result"] == counts(created=1, refused=1)
    assert report_of(tenant, operation).keys() == {2}


# Exporting ------------------------------------------------------------------------------------------------------------


def test_only_what_is_published_is_exported(tenant: Tenant) -> None:
    body = new_dictionary(displayName="Words", source="https://example.com", licence="CC0-1.0")
    dictionary_id: str = made(tenant, DICTIONARIES, body)["id"]
    shown = published(tenant, dictionary_id, "shown")
    made(tenant, ENTRIES, new_entry(dictionary_id, "draft"))
    review = made(tenant, ENTRIES, new_entry(dictionary_id, "review"))
    made(tenant, f"{ENTRIES}/{review['id']}/submit", {}, 200)
    archived, gone = (published(tenant, dictionary_id, word) for word in ("archived", "gone"))
    made(tenant, f"{ENTRIES}/{archived['id']}/archive", {}, 200)
    assert tenant.rest.delete(f"{ENTRIES}/{gone['id']}").status_code == 204
    published(tenant, dictionary_of(tenant), "elsewhere")
    for options, name, content_type in (
        ({}, "json", "application/json"),
        ({"format": DMLEX}, "json", "application/json"),
        ({"format": CSV}, "csv", "text/csv; charset=utf-8"),
    ):
        answer = tenant.rest.get(EXPORT, {"dictionaryId": dictionary_id} | options)
        assert answer.status_code == 200, answer.text
        assert words_in(answer.content) == ["shown"]
        assert answer.headers["content-type"] == content_type
        assert answer.headers["content-disposition"] == f'attachment; filename="{body["key"]}.{name}"'
    document = json.loads(exported(tenant, dictionary_id))
    assert (document["title"], document["uri"], document["langCode"]) == ("Words", "https://example.com", "en")
    [entry] = document["entries"]
    assert (entry["id"], entry["etymologies"]) == (shown["id"], [{"description": shown["etymology"]}])
    # The file says under which licence it may be used.
    assert entry["x-plinth"] == {"source": "https://example.com", "licence": "CC0-1.0"}


def test_an_empty_dictionary_is_exported_as_one(tenant: Tenant, dictionary_id: str) -> None:
    made(tenant, ENTRIES, new_entry(dictionary_id, "draft"))
    assert json.loads(exported(tenant, dictionary_id))["entries"] == []
    [header] = exported(tenant, dictionary_id, format=CSV).splitlines()
    assert header.startswith(b"headword,part_of_speech,")


def test_columns_of_a_table_are_the_languages_of_its_translations(tenant: Tenant, dictionary_id: str) -> None:
    translations = [{"language": language, "text": f"in {language}"} for language in ("pt-BR", "de", "de")]
    published(
        tenant, dictionary_id, "word", senses=[{"translations": translations[:2]}, {"translations": translations[2:]}]
    )
    rows = list(csv.DictReader(io.StringIO(exported(tenant, dictionary_id, format=CSV).decode(), newline="")))
    assert [(row["translation_de"], row["translation_pt-BR"]) for row in rows] == [("in de", "in pt-BR"), ("in de", "")]
    assert [name for name in rows[0] if name.startswith("translation_")] == ["translation_de", "translation_pt-BR"]


def test_every_entry_of_a_large_dictionary_is_exported_once_and_in_order(tenant: Tenant, dictionary_id: str) -> None:
    size = 2 * BATCH + 50
    imported(tenant, dictionary_id, numbered(size), publish=True)
    expected = [f"word {number:04}" for number in range(size)]
    assert words_in(exported(tenant, dictionary_id)) == expected
    assert words_in(exported(tenant, dictionary_id, format=CSV)) == expected


def test_entries_with_several_licences_are_not_mixed_unasked(tenant: Tenant) -> None:
    dictionary_id = dictionary_of(tenant, licence="CC0-1.0")
    for word, licence in (("a", ""), ("b", "CC0-1.0"), ("c", "CC-BY-SA-4.0")):
        published(tenant, dictionary_id, word, licence=licence)
    # What nobody sees does not count.
    made(tenant, ENTRIES, new_entry(dictionary_id, "draft", licence="MIT"))
    for form in (DMLEX, CSV):
        query = {"dictionaryId": dictionary_id, "format": form}
        refused = tenant.rest.get(EXPORT, query)
        assert reason(refused) == (409, "STATE_FORBIDS")
        metadata = problem(refused).metadata
        assert (metadata["state"], metadata["licences"]) == ("MIXED_LICENCES", "CC0-1.0 (2), CC-BY-SA-4.0 (1)")
        assert metadata["resource"] == dictionary_id
        for licence, words in (("CC0-1.0", ["a", "b"]), ("CC-BY-SA-4.0", ["c"]), ("MIT", [])):
            assert words_in(exported(tenant, dictionary_id, format=form, licence=licence)) == words
        assert words_in(exported(tenant, dictionary_id, format=form, mixedLicences=True)) == ["a", "b", "c"]
    table = csv.DictReader(io.StringIO(exported(tenant, dictionary_id, format=CSV, mixedLicences=True).decode()))
    assert [row["licence"] for row in table] == ["CC0-1.0", "CC0-1.0", "CC-BY-SA-4.0"]


def test_one_licence_is_exported_without_asking(tenant: Tenant) -> None:
    dictionary_id = dictionary_of(tenant, licence="CC0-1.0")
    published(tenant, dictionary_id, "a")
    published(tenant, dictionary_id, "b", licence="CC0-1.0")
    assert words_in(exported(tenant, dictionary_id)) == ["a", "b"]


def test_who_may_not_export_is_refused(tenant: Tenant, dictionary_id: str) -> None:
    published(tenant, dictionary_id, "word")
    query = {"dictionaryId": dictionary_id}
    _, member = new_member(tenant, "member")
    assert reason(Rest(tenant.stack, member.access_token).get(EXPORT, query)) == (403, "PERMISSION_MISSING")
    assert holder(tenant, "dictionary.entries.export").get(EXPORT, query).status_code == 200


def test_there_is_nothing_to_export_of_an_absent_dictionary(tenant: Tenant, dictionary_id: str) -> None:
    foreign = another_tenant(tenant)
    for absent in (tenant.id, dictionary_id):
        assert reason(foreign.rest.get(EXPORT, {"dictionaryId": absent})) == (404, "RESOURCE_NOT_FOUND")
    assert tenant.rest.delete(f"{DICTIONARIES}/{dictionary_id}").status_code == 204
    assert reason(tenant.rest.get(EXPORT, {"dictionaryId": dictionary_id})) == (404, "RESOURCE_NOT_FOUND")


def test_nothing_is_exported_as_lines_of_wiktextract(tenant: Tenant, dictionary_id: str) -> None:
    refused = tenant.rest.get(EXPORT, {"dictionaryId": dictionary_id, "format": WIKTEXTRACT})
    assert set(problem(refused).violations) == {"format"}


# There and back -------------------------------------------------------------------------------------------------------

# What a table can say, and texts that forms of files have signs of their own for.
UNUSUAL: tuple[dict[str, Any], ...] = (
    {
        "headword": "=1+1",
        "senses": [{"definitions": ["=HYPERLINK(1)", "@x", "+1", "\tindented"]}],
        "etymology": "-1\nof two lines",
    },
    {"headword": '"quoted", with a comma', "forms": [{"text": '"'}, {"text": "''"}], "labels": ["a,b", "c;d"]},
    {"headword": "a|b", "senses": [{"definitions": ["x|y", "\\", "\\|", "end\\", "|"]}], "labels": ["|", "\\"]},
    {"headword": "line", "senses": [{"definitions": ["one\ntwo\n\nthree", 'a "b"\n', "\r\n"]}]},
    {
        "headword": "𐐷 \U0001d518\U0001d52b\U0001d526 👩‍👩‍👧",
        "pronunciations": [{"transcription": "/\U0001d518|x/"}],
        "senses": [
            {
                "definitions": ["👩‍👩‍👧"],
                "translations": [{"language": "de", "text": "ß|ẞ"}, {"language": "zh-Hant", "text": "𠜎"}],
            },
            {"definitions": ["Zweitens."], "examples": [{"text": "{}[]<>&;"}, {"text": " spaces "}]},
        ],
        "frequency": 0.1,
    },
    {
        "headword": "-ness",
        "partOfSpeech": "suffix",
        "homographNumber": 7,
        "source": "=A1",
        "senses": [{"translations": [{"language": "de", "text": "-heit"}]}],
    },
    {"headword": "null", "senses": [{"definitions": ["null", "true", "\u2028", "\u00a0"]}], "frequency": 1_000_000},
)
# What only DMLex can say.
RICH: dict[str, Any] = {
    "headword": "\U0001d52fich",
    "pronunciations": [
        {"transcription": "rɛtʃ", "scheme": "ipa", "labels": ["UK"]},
        {"audioUrl": "https://example.com/rich.mp3"},
        {"transcription": "rich", "scheme": "respelling", "audioUrl": "https://example.com/a.mp3"},
    ],
    "forms": [{"text": "richer", "tag": "comparative", "labels": ["rare"]}],
    "hyphenation": "ri·ch",
    "senses": [
        {
            "indicator": "of money",
            "labels": ["formal", 'a "label"'],
            "definitions": ["Having much."],
            "examples": [{"text": "Rich\nand famous", "source": "A, book", "translation": "Reich und berühmt"}],
            "relations": [{"type": "TYPE_ANTONYM", "text": "poor"}, {"type": "TYPE_DERIVED", "text": "richness"}],
        },
        {"indicator": "alone"},
    ],
}


def filled(tenant: Tenant, *bodies: dict[str, Any]) -> str:
    """A dictionary with these entries, published."""
    dictionary_id = dictionary_of(
        tenant, displayName='Unusual "words"', licence="CC0-1.0", source="https://example.com"
    )
    for body in bodies:
        published(tenant, dictionary_id, **({"etymology": ""} | body))
    return dictionary_id


def copied(tenant: Tenant, data: bytes, count: int, **options: Any) -> str:
    """A new dictionary with what a file says."""
    dictionary_id = filled(tenant)
    operation = imported(tenant, dictionary_id, data, publish=True, **options)
    assert operation["result"] == counts(created=count)
    return dictionary_id


def test_a_table_comes_back_byte_by_byte(tenant: Tenant) -> None:
    first = filled(tenant, *UNUSUAL)
    data = exported(tenant, first, format=CSV)
    second = copied(tenant, data, len(UNUSUAL))
    assert exported(tenant, second, format=CSV) == data
    inherited = {"licence": "CC0-1.0", "source": "https://example.com"}
    expected = [inherited | content_of(entry) for entry in entries_of(tenant, first)]
    assert [content_of(entry) for entry in entries_of(tenant, second)] == expected


def test_dmlex_comes_back_byte_by_byte(tenant: Tenant) -> None:
    first = filled(tenant, *UNUSUAL, RICH)
    null = next(entry for entry in entries_of(tenant, first) if entry["headword"] == "null")
    relation = {"type": "TYPE_HYPERNYM", "relatedEntryId": null["id"], "relatedSenseId": null["senses"][0]["id"]}
    published(tenant, first, "zero", senses=[{"definitions": ["Nothing."], "relations": [relation]}], etymology="")
    data = exported(tenant, first, format=DMLEX)
    second = copied(tenant, data, len(UNUSUAL) + 2)
    assert without_ids(tenant, exported(tenant, second), first, second) == without_ids(tenant, data, first, second)
    inherited = {"licence": "CC0-1.0", "source": "https://example.com"}
    expected = [inherited | content_of(entry) for entry in entries_of(tenant, first)]
    assert [content_of(entry) for entry in entries_of(tenant, second)] == expected


def without_ids(tenant: Tenant, data: bytes, *dictionary_ids: str) -> bytes:
    """A file with the headwords of entries in place of their ids, which are new in each dictionary."""
    for dictionary_id in dictionary_ids:
        for entry in entries_of(tenant, dictionary_id):
            data = data.replace(entry["id"].encode(), entry["headword"].encode())
    return data


def test_homographs_come_back_byte_by_byte(tenant: Tenant) -> None:
    homographs = [
        {"headword": "bank", "partOfSpeech": part, "homographNumber": number}
        for part in ("noun", "verb", "adjective")
        for number in range(4)
    ]
    data = exported(tenant, filled(tenant, *homographs), format=CSV)
    assert exported(tenant, copied(tenant, data, len(homographs)), format=CSV) == data
