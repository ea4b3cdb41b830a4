"""How dictionaries, their entries and proposals are made and changed."""

from typing import Any

from tests.clients import Tenant, unique
from tests.contract.instances import MARK, Instance, Mutation, Named, made

DICTIONARIES, ENTRIES = "/api/v1/dictionaries", "/api/v1/dictionary/entries"
PROPOSALS = "/api/v1/dictionary/proposals"
MEANS = [{"definitions": ["Planted."]}]


def new_dictionary(language: str = "en", **body: Any) -> dict[str, Any]:
    """The JSON of a dictionary."""
    return {"key": unique("d").replace("-", "_").lower(), "displayName": unique("Planted"), "language": language} | body


def new_entry(dictionary_id: str = "", headword: str = "", **body: Any) -> dict[str, Any]:
    """The JSON of an entry, of a dictionary if one is named."""
    there = {"dictionaryId": dictionary_id} if dictionary_id else {}
    facts = {"partOfSpeech": "noun", "senses": MEANS, "etymology": unique("from")}
    return there | facts | {"headword": headword or unique("planted")} | body


def publish(tenant: Tenant, entry_id: str) -> dict[str, Any]:
    """A draft that everyone sees then."""
    return made(tenant, f"{ENTRIES}/{entry_id}/publish", {}, 200)


def published(tenant: Tenant, dictionary_id: str, headword: str, **body: Any) -> dict[str, Any]:
    """An entry that everyone sees."""
    return publish(tenant, made(tenant, ENTRIES, new_entry(dictionary_id, headword, **body))["id"])


def _dictionary(tenant: Tenant) -> Named:
    """The same as that of entries, whichever is made first: requests name both."""
    dictionary = _first(tenant)
    return {"dictionary_id": dictionary["id"], "etag": dictionary["etag"]}


def _first(tenant: Tenant) -> dict[str, Any]:
    """The first dictionary of a tenant, with a sibling, so that a page of one has a next."""
    found = tenant.rest.get(DICTIONARIES, {"pageSize": 2, "orderBy": "create_time"}).json()["dictionaries"]
    found += [made(tenant, DICTIONARIES, new_dictionary()) for _ in range(len(found), 2)]
    return dict(found[0])


def _revised(tenant: Tenant, word: str) -> Named:
    """An entry that is published, with former revisions, and another one that it names."""
    dictionary_id = _first(tenant)["id"]
    other = published(tenant, dictionary_id, f"{word}-2")
    relations = [{"type": "TYPE_SYNONYM", "relatedEntryId": other["id"]}]
    entry = published(tenant, dictionary_id, word, senses=[MEANS[0] | {"relations": relations}])
    for _ in range(2):
        changed = tenant.rest.patch(f"{ENTRIES}/{entry['id']}", {"etymology": unique("from")})
        assert changed.status_code == 200, changed.text
    entry = changed.json()
    return {"dictionary_entry_id": entry["id"], "dictionary_id": dictionary_id, "etag": entry["etag"]}


def _entry(tenant: Tenant) -> Named:
    word = unique(f"{MARK}-{tenant.subdomain}")
    return {**_revised(tenant, word), "reason": "Planted", "word": word}


def _revision(tenant: Tenant) -> Named:
    named = _revised(tenant, unique("revised"))
    [revision, _] = tenant.rest.get(f"{ENTRIES}/{named['dictionary_entry_id']}/revisions").json()["dictionaryRevisions"]
    return {**named, "dictionary_revision_id": revision["id"], "etag": revision["etag"]}


def _draft(sweep: Any) -> dict[str, Any]:
    """Another entry, which is a draft."""
    named = made(sweep.tenant, DICTIONARIES, new_dictionary())
    return {"dictionaryEntryId": made(sweep.tenant, ENTRIES, new_entry(named["id"]))["id"]}


def _former(sweep: Any) -> dict[str, Any]:
    """A revision and its entry."""
    named = _revised(sweep.tenant, unique("former"))
    path = f"{ENTRIES}/{named['dictionary_entry_id']}/revisions"
    revision = sweep.tenant.rest.get(path).json()["dictionaryRevisions"][0]
    return {"dictionaryEntryId": named["dictionary_entry_id"], "dictionaryRevisionId": revision["id"]}


def _in_review(sweep: Any) -> dict[str, Any]:
    """Another entry, which waits for review."""
    draft = _draft(sweep)
    made(sweep.tenant, f"{ENTRIES}/{draft['dictionaryEntryId']}/submit", {}, 200)
    return draft


def new_proposal(dictionary_id: str = "") -> dict[str, Any]:
    """The JSON of a new word that somebody proposes."""
    return {"content": new_entry(dictionary_id), "note": "Planted"}


def _proposal(tenant: Tenant) -> Named:
    """With a sibling, so that a page of one has a next."""
    dictionary_id = _first(tenant)["id"]
    proposal, _ = (made(tenant, PROPOSALS, new_proposal(dictionary_id)) for _ in range(2))
    named = {"dictionary_proposal_id": proposal["id"], "etag": proposal["etag"], "reason": "Planted"}
    return named | {"user_id": tenant.owner.id}


def _pending(sweep: Any) -> dict[str, Any]:
    """Another proposal."""
    dictionary_id = made(sweep.tenant, DICTIONARIES, new_dictionary())["id"]
    return {"dictionaryProposalId": made(sweep.tenant, PROPOSALS, new_proposal(dictionary_id))["id"]}


INSTANCES = {
    "plinth.dictionary.v1.Dictionary": Instance(
        _dictionary,
        lambda: new_dictionary("de"),
        afresh=lambda tenant: {"dictionary_id": made(tenant, DICTIONARIES, new_dictionary())["id"]},
    ),
    "plinth.dictionary.v1.DictionaryEntry": Instance(_entry, new_entry),
    "plinth.dictionary.v1.DictionaryRevision": Instance(_revision),
    "plinth.dictionary.v1.DictionaryProposal": Instance(_proposal, new_proposal),
}
MUTATIONS = (
    Mutation("DictionaryService/CreateDictionary"),
    Mutation("DictionaryService/UpdateDictionary", lambda _: {"updateMask": "displayName"}, mask=("display_name",)),
    Mutation("DictionaryEntryService/CreateDictionaryEntry"),
    Mutation("DictionaryEntryService/BatchCreateDictionaryEntries"),
    Mutation(
        "DictionaryEntryService/UpdateDictionaryEntry", lambda _: {"updateMask": "etymology"}, mask=("etymology",)
    ),
    Mutation("DictionaryEntryService/RestoreDictionaryRevision", _former),
    Mutation("DictionaryEntryService/SubmitDictionaryEntry", _draft),
    Mutation("DictionaryEntryService/ReturnDictionaryEntry", _in_review),
    Mutation("DictionaryEntryService/ArchiveDictionaryEntry"),
    Mutation("DictionaryEntryService/PublishDictionaryEntry", before="ArchiveDictionaryEntry"),
    Mutation("DictionaryEntryService/DeleteDictionaryEntry"),
    Mutation("DictionaryEntryService/UndeleteDictionaryEntry", before="DeleteDictionaryEntry"),
    Mutation("DictionaryProposalService/CreateDictionaryProposal"),
    Mutation("DictionaryProposalService/WithdrawDictionaryProposal"),
    Mutation("DictionaryProposalService/AcceptDictionaryProposal", _pending),
    Mutation("DictionaryProposalService/RejectDictionaryProposal", _pending),
    Mutation("DictionaryService/DeleteDictionary"),
    Mutation("DictionaryService/UndeleteDictionary", before="DeleteDictionary"),
    Mutation("DictionaryTransferService/ImportDictionary"),
)
