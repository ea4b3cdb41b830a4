"""Entries: who sees which, how they become public, what they said before, and what they are related to."""

from typing import Any

import pytest

from tests.clients import Rest, Tenant, new_member, problem, reason, rows
from tests.contract.instances import made
from tests.domains.dictionary.instances import (
    DICTIONARIES,
    ENTRIES,
    PROPOSALS,
    new_dictionary,
    new_entry,
    publish,
    published,
)


@pytest.fixture
def dictionary_id(tenant: Tenant) -> str:
    found: str = made(tenant, DICTIONARIES, new_dictionary())["id"]
    return found


@pytest.fixture
def reader(tenant: Tenant) -> Rest:
    """Somebody who may read, and propose."""
    _, session = new_member(tenant, "member")
    return Rest(tenant.stack, session.access_token)


def words(rest: Rest, **options: Any) -> list[str]:
    return [entry["headword"] for entry in rest.get(ENTRIES, options).json()["dictionaryEntries"]]


def test_readers_see_what_is_published_and_nothing_else(tenant: Tenant, dictionary_id: str, reader: Rest) -> None:
    draft = made(tenant, ENTRIES, new_entry(dictionary_id, "draft"))
    path = f"{ENTRIES}/{draft['id']}"
    published(tenant, dictionary_id, "shown")
    # Twice: what is cached for one of them is not shown to the other.
    for _ in range(2):
        assert words(tenant.rest) == ["draft", "shown"]
        assert words(reader) == ["shown"]
        assert tenant.rest.get(path).status_code == 200
        assert reason(reader.get(path)) == (404, "RESOURCE_NOT_FOUND")
    assert words(reader, filter="state = DRAFT") == []
    publish(tenant, draft["id"])
    assert words(reader) == ["draft", "shown"]
    assert reader.get(path).json()["state"] == "STATE_PUBLISHED"
    made(tenant, f"{path}/archive", {}, 200)
    assert words(reader) == ["shown"]
    assert reader.patch(path, {"etymology": "mine"}).status_code == 403


def test_events_of_drafts_are_for_those_who_may_change_them(tenant: Tenant, dictionary_id: str) -> None:
    draft = made(tenant, ENTRIES, new_entry(dictionary_id, "draft"))
    made(tenant, f"{ENTRIES}/{draft['id']}/submit", {}, 200)
    publish(tenant, draft["id"])
    made(tenant, f"{ENTRIES}/{draft['id']}/archive", {}, 200)
    query = (
        "SELECT type, audience IS NULL AS is_public FROM events WHERE tenant_id = %s AND resource_id = %s ORDER BY id"
    )
    found = [(row["type"], row["is_public"]) for row in rows(tenant.stack, query, tenant.id, draft["id"])]
    assert found == [
        ("dictionary_entry.created", False),
        ("dictionary_entry.submitted", False),
        ("dictionary_entry.published", True),
        # Who saw it learns that it is gone.
        ("dictionary_entry.archived", True),
    ]


def test_an_entry_goes_through_review(tenant: Tenant, dictionary_id: str) -> None:
    entry = made(tenant, ENTRIES, new_entry(dictionary_id, senses=[]))
    path = f"{ENTRIES}/{entry['id']}"
    assert entry["state"] == "STATE_DRAFT"
    assert made(tenant, f"{path}/submit", {}, 200)["state"] == "STATE_IN_REVIEW"
    refused = tenant.rest.post(f"{path}/publish", {})
    assert reason(refused) == (409, "STATE_FORBIDS")
    assert problem(refused).metadata["state"] == "INCOMPLETE"
    assert "reason" in problem(tenant.rest.post(f"{path}/return", {})).violations
    returned = made(tenant, f"{path}/return", {"reason": "Say what it means."}, 200)
    assert (returned["state"], returned["returnReason"]) == ("STATE_DRAFT", "Say what it means.")
    assert reason(tenant.rest.post(f"{path}/archive", {})) == (409, "STATE_FORBIDS")
    assert tenant.rest.patch(path, {"senses": [{"definitions": ["Now."]}]}).status_code == 200
    resubmitted = made(tenant, f"{path}/submit", {}, 200)
    assert resubmitted["returnReason"] == ""
    shown = publish(tenant, entry["id"])
    assert shown["publishTime"]
    emptied = tenant.rest.patch(path, {"senses": []})
    assert problem(emptied).rules == ("entry.complete",)


def test_an_entry_is_identified_by_its_id_and_told_apart_by_its_number(tenant: Tenant, dictionary_id: str) -> None:
    made(tenant, ENTRIES, new_entry(dictionary_id, "Säge"))
    # The same in another normal form.
    again = tenant.rest.post(ENTRIES, new_entry(dictionary_id, "Sa\u0308ge"))
    assert reason(again) == (409, "RESOURCE_TAKEN")
    made(tenant, ENTRIES, new_entry(dictionary_id, "Säge", homographNumber=2))
    made(tenant, ENTRIES, new_entry(dictionary_id, "Säge", partOfSpeech="verb"))
    other = made(tenant, DICTIONARIES, new_dictionary())["id"]
    made(tenant, ENTRIES, new_entry(other, "Säge"))
    assert problem(tenant.rest.post(ENTRIES, new_entry(headword="lost"))).violations
    assert tenant.rest.post(ENTRIES, new_entry(tenant.id, "lost")).status_code == 404


def test_lists_follow_the_alphabet_without_case_and_diacritics(tenant: Tenant, dictionary_id: str) -> None:
    for headword in ("Zebra", "apple", "Äpfel", "banana", "Apple"):
        made(tenant, ENTRIES, new_entry(dictionary_id, headword))
    assert words(tenant.rest) == ["Äpfel", "apple", "Apple", "banana", "Zebra"]
    swedish = made(tenant, DICTIONARIES, new_dictionary("sv"))["id"]
    for headword in ("ål", "al", "zon"):
        made(tenant, ENTRIES, new_entry(swedish, headword))
    assert words(tenant.rest, dictionaryId=swedish) == ["al", "zon", "ål"]
    assert words(tenant.rest, dictionaryId=swedish, orderBy="frequency desc") != []


def test_what_an_entry_said_is_kept_and_comes_back(tenant: Tenant, dictionary_id: str) -> None:
    entry = made(tenant, ENTRIES, new_entry(dictionary_id, "word", etymology="one", labels=["old"]))
    path = f"{ENTRIES}/{entry['id']}"
    sense_id = entry["senses"][0]["id"]
    second = tenant.rest.patch(path, {"etymology": "two", "labels": []}).json()
    assert second["revisionNumber"] == 1
    # Nothing changes, so there is no revision of it.
    assert tenant.rest.patch(path, {"etymology": "two"}).json()["revisionNumber"] == 1
    publish(tenant, entry["id"])
    found = tenant.rest.get(f"{path}/revisions").json()["dictionaryRevisions"]
    assert [each["number"] for each in found] == [1]
    content = found[0]["content"]
    assert (content["etymology"], content["labels"], content["senses"][0]["id"]) == ("one", ["old"], sense_id)
    restored = made(tenant, f"{path}/restore", {"dictionaryRevisionId": found[0]["id"]}, 200)
    assert (restored["etymology"], restored["labels"], restored["state"]) == ("one", ["old"], "STATE_PUBLISHED")
    assert restored["revisionNumber"] == 2
    numbers = [each["number"] for each in tenant.rest.get(f"{path}/revisions").json()["dictionaryRevisions"]]
    assert numbers == [2, 1]
    other = made(tenant, ENTRIES, new_entry(dictionary_id))
    foreign = tenant.rest.post(f"{ENTRIES}/{other['id']}/restore", {"dictionaryRevisionId": found[0]["id"]})
    assert foreign.status_code == 404


def test_senses_keep_their_ids_and_relations_are_found_from_both_ends(
    tenant: Tenant, dictionary_id: str, reader: Rest
) -> None:
    animal = published(tenant, dictionary_id, "animal")
    relation = {"type": "TYPE_HYPERNYM", "relatedEntryId": animal["id"], "relatedSenseId": animal["senses"][0]["id"]}
    dog = made(
        tenant,
        ENTRIES,
        new_entry(
            dictionary_id,
            "dog",
            senses=[{"definitions": ["Barks."], "relations": [relation, {"type": "TYPE_SYNONYM", "text": "hound"}]}],
        ),
    )
    path = f"{ENTRIES}/{dog['id']}"

    def related(rest: Rest, entry_id: str) -> list[tuple[str, str, bool]]:
        answer = rest.get(f"{ENTRIES}/{entry_id}/related").json()["relatedEntries"]
        return [(each["type"], each["headword"], each["isOutgoing"]) for each in answer]

    assert related(tenant.rest, dog["id"]) == [("TYPE_SYNONYM", "hound", True), ("TYPE_HYPERNYM", "animal", True)]
    assert related(tenant.rest, animal["id"]) == [("TYPE_HYPONYM", "dog", False)]
    # A draft is not shown by what it names.
    assert related(reader, animal["id"]) == []
    changed = tenant.rest.patch(path, {"senses": [*dog["senses"], {"definitions": ["A bad one."]}]}).json()
    assert changed["senses"][0]["id"] == dog["senses"][0]["id"]
    assert related(tenant.rest, animal["id"]) == [("TYPE_HYPONYM", "dog", False)]
    wrong = [{"definitions": ["x"], "relations": [{"type": "TYPE_SYNONYM", "relatedEntryId": tenant.id}]}]
    assert problem(tenant.rest.patch(path, {"senses": wrong})).rules == ("relation.exists",)
    both = [{"definitions": ["x"], "relations": [relation | {"text": "animal"}]}]
    assert problem(tenant.rest.patch(path, {"senses": both})).rules == ("relation.one",)
    twice = [dog["senses"][0], dog["senses"][0] | {"definitions": ["Another."]}]
    assert set(problem(tenant.rest.patch(path, {"senses": twice})).rules) == {"sense.id"}
    assert tenant.rest.delete(f"{ENTRIES}/{animal['id']}").status_code == 204
    assert related(tenant.rest, dog["id"]) == [("TYPE_SYNONYM", "hound", True)]


def test_a_proposal_changes_an_entry_once_somebody_accepts_it(tenant: Tenant, dictionary_id: str, reader: Rest) -> None:
    entry = published(tenant, dictionary_id, "colur", etymology="kept")
    content = {"headword": "colour", "partOfSpeech": "noun", "senses": entry["senses"]}
    response = reader.post(PROPOSALS, {"dictionaryEntryId": entry["id"], "content": content, "note": "A typo."})
    assert response.status_code == 201, response.text
    proposal = response.json()
    path = f"{PROPOSALS}/{proposal['id']}"
    assert (proposal["state"], proposal["dictionaryId"]) == ("STATE_PENDING", dictionary_id)
    assert tenant.rest.get(ENTRIES + f"/{entry['id']}").json()["headword"] == "colur"
    assert reader.post(f"{path}/accept", {}).status_code == 403
    pending = tenant.rest.get(PROPOSALS, {"userId": "-", "filter": "state = PENDING"}).json()["dictionaryProposals"]
    assert [each["id"] for each in pending] == [proposal["id"]]
    assert made(tenant, f"{path}/accept", {}, 200)["state"] == "STATE_ACCEPTED"
    changed = reader.get(f"{ENTRIES}/{entry['id']}").json()
    # What is left out of a proposal is removed.
    assert (changed["headword"], changed["etymology"], changed["revisionNumber"]) == ("colour", "", 1)
    assert reason(tenant.rest.post(f"{path}/reject", {"reason": "Late."})) == (409, "STATE_FORBIDS")


def test_a_proposal_of_a_new_word_becomes_an_entry(tenant: Tenant, dictionary_id: str, reader: Rest) -> None:
    proposal = reader.post(PROPOSALS, {"content": new_entry(dictionary_id, "selfie")}).json()
    accepted = made(tenant, f"{PROPOSALS}/{proposal['id']}/accept", {}, 200)
    entry = reader.get(f"{ENTRIES}/{accepted['newEntryId']}").json()
    assert (entry["headword"], entry["state"]) == ("selfie", "STATE_PUBLISHED")
    rejected = reader.post(PROPOSALS, {"content": new_entry(dictionary_id, "xqz")}).json()
    told = made(tenant, f"{PROPOSALS}/{rejected['id']}/reject", {"reason": "No such word."}, 200)
    assert (told["state"], told["reason"]) == ("STATE_REJECTED", "No such word.")
    withdrawn = reader.post(PROPOSALS, {"content": new_entry(dictionary_id, "oops")}).json()
    assert reader.post(f"{PROPOSALS}/{withdrawn['id']}/withdraw", {}).json()["state"] == "STATE_WITHDRAWN"
    nowhere = reader.post(PROPOSALS, {"content": new_entry(tenant.id)})
    assert nowhere.status_code == 404
    assert problem(reader.post(PROPOSALS, {"content": new_entry()})).violations


def test_an_outdated_proposal_is_not_accepted(tenant: Tenant, dictionary_id: str, reader: Rest) -> None:
    entry = published(tenant, dictionary_id, "race")
    draft = made(tenant, ENTRIES, new_entry(dictionary_id))
    content = {"headword": "race", "partOfSpeech": "noun", "senses": [{"definitions": ["Theirs."]}]}
    proposal = reader.post(PROPOSALS, {"dictionaryEntryId": entry["id"], "content": content}).json()
    assert tenant.rest.patch(f"{ENTRIES}/{entry['id']}", {"etymology": "ours"}).status_code == 200
    refused = tenant.rest.post(f"{PROPOSALS}/{proposal['id']}/accept", {})
    assert problem(refused).metadata["state"] == "OUTDATED"
    assert tenant.rest.get(f"{ENTRIES}/{entry['id']}").json()["etymology"] == "ours"
    assert reader.post(PROPOSALS, {"dictionaryEntryId": draft["id"], "content": content}).status_code == 404


def test_several_are_created_together_or_not_at_all(tenant: Tenant, dictionary_id: str) -> None:
    requests = [{"dictionaryEntry": new_entry(dictionary_id, f"together {number}")} for number in range(3)]
    assert len(made(tenant, f"{ENTRIES}/batch", {"requests": requests}, 200)["dictionaryEntries"]) == 3
    refused = tenant.rest.post(f"{ENTRIES}/batch", {"requests": [*requests[:1], requests[0]]})
    assert refused.status_code == 409
    assert len(words(tenant.rest)) == 3
