"""A dictionary of thousands of random entries, for tests that compare it with brute force, or look at plans."""

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.clients import Tenant, new_tenant, rows
from tests.contract.instances import made
from tests.domains.dictionary.instances import DICTIONARIES, new_dictionary
from tests.stack import Stack

ENTRIES, STEMS = 5_000, 500
FIRST, FURTHER = "abcdefghijklmnopqrstuvwxyz", "aeioulnrst"
"""Many first letters, so that few words have the same one, and few others, so that many words are nearly the same."""
ENDINGS = ("e", "s", "en", "er", "est", "ung")
PARTS_OF_SPEECH = ("noun", "verb", "adjective", "")
FREQUENCIES = (0.0, 0.5, 1.0, 3.0, 20.0, 1_000.0)
MARKED = {"a": "äáâ", "o": "öó", "u": "üù", "e": "éè", "s": "š", "n": "ñ"}
UMLAUTS = {"a": "ae", "o": "oe", "u": "ue"}
FIND = """
SELECT id::text, headword, part_of_speech, homograph_number FROM dictionary_entries
 WHERE tenant_id = %s AND dictionary_id = %s"""
NONE = ("created", "replaced", "unchanged", "skipped", "refused")
"""What an import counts."""


class Entry(NamedTuple):
    """What an entry says."""

    headword: str
    part_of_speech: str
    homograph_number: int = 0
    frequency: float = 0.0
    forms: Sequence[str] = ()
    translations: Sequence[str] = ()
    definitions: Sequence[str] = ("Planted.",)
    examples: Sequence[str] = ()
    id: str = ""

    @property
    def line(self) -> str:
        """Its line in a file of DMLex."""
        sense = {
            "definitions": [{"text": each} for each in self.definitions],
            "examples": [{"text": each} for each in self.examples],
            "headwordTranslations": [{"langCode": "fr", "text": each} for each in self.translations],
        }
        entry = {
            "headword": self.headword,
            "partsOfSpeech": [self.part_of_speech] if self.part_of_speech else [],
            "homographNumber": self.homograph_number,
            "inflectedForms": [{"text": each} for each in self.forms],
            "senses": [sense],
            "x-plinth": {"frequency": self.frequency},
        }
        return json.dumps(entry, ensure_ascii=False)


class Thousands(NamedTuple):
    """The dictionary, which is alone in its tenant."""

    tenant: Tenant
    dictionary_id: str
    entries: Sequence[Entry]
    vocabulary: Sequence[str]
    """The words from which all texts are made, without marks."""


@pytest.fixture(scope="session")
def thousands(stack: Stack) -> Thousands:
    """Published by one import. Tests change nothing in it."""
    tenant = new_tenant(stack)
    dictionary_id = made(tenant, DICTIONARIES, new_dictionary("de"))["id"]
    random = Random(17)  # noqa: S311 - the same ones in each run
    vocabulary = words(random)
    written = list(entries(random, vocabulary))
    return Thousands(tenant, dictionary_id, imported(tenant, dictionary_id, written), vocabulary)


def imported(tenant: Tenant, dictionary_id: str, written: Sequence[Entry]) -> list[Entry]:
    """Entries that one import publishes, with their ids."""
    answer = tenant.rest.request(
        "POST",
        "/api/v1/dictionary/imports",
        params={"dictionaryId": dictionary_id, "format": "DICTIONARY_FORMAT_DMLEX", "publish": "true"},
        files={"file": ("entries.jsonl", "\n".join(each.line for each in written).encode(), "application/jsonl")},
    )
    assert answer.status_code == 202, answer.text
    operation = ended(tenant, answer.json()["id"])
    assert operation["state"] == "STATE_DONE", operation
    assert operation["result"] == dict.fromkeys(NONE, 0) | {"created": len(written)}
    ids = {
        (row["headword"], row["part_of_speech"], row["homograph_number"]): row["id"]
        for row in rows(tenant.stack, FIND, tenant.id, dictionary_id)
    }
    return [each._replace(id=ids[each.headword, each.part_of_speech, each.homograph_number]) for each in written]


def ended(tenant: Tenant, operation_id: str) -> dict[str, Any]:
    """An operation once it has ended."""
    asked: list[dict[str, Any]] = []

    def has_ended() -> bool:
        waited = tenant.rest.get(f"/api/v1/long-operations/{operation_id}/wait", {"timeoutSeconds": 20})
        asked.append(waited.json())
        return "endTime" in asked[-1]

    tenant.stack.wait_for(has_ended)
    return asked[-1]


def words(random: Random) -> list[str]:
    """Words of which many begin with others, are a typo or two apart, or are the same but for an umlaut."""
    found: dict[str, None] = {}
    for number in range(STEMS):
        length = random.choice((1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 12))
        stem = FIRST[number % len(FIRST)] + "".join(random.choices(FURTHER, k=length))
        # With the same first letter, so that no letter begins too many headwords.
        near = [stem[0] + mistyped(random, stem[1:], typos) for typos in (1, 1, 2) if random.random() < 0.5]
        longer = [stem + random.choice(ENDINGS) for _ in range(2) if random.random() < 0.5]
        found |= dict.fromkeys((stem, *near, *longer))
    return random.sample(list(found), len(found))


def mistyped(random: Random, word: str, typos: int = 1) -> str:
    """A word with letters that are missing, added, replaced, or exchanged with their neighbours."""
    for _ in range(typos):
        place = random.randrange(len(word))
        before, letter, after = word[:place], word[place], word[place + 1 :]
        other = random.choice(FURTHER)
        word = random.choice(
            (
                before + after,
                before + other + letter + after,
                before + other + after,
                before + after[:1] + letter + after[1:],
            )
        )
        if not word:
            return other
    return word


def marked(random: Random, text: str) -> str:
    """A text with some diacritics and capitals, or two letters for an umlaut."""
    chance = random.random()
    if chance < 0.25:
        text = "".join(
            random.choice(MARKED.get(letter, letter)) if random.random() < 0.4 else letter for letter in text
        )
    elif chance < 0.3:
        text = "".join(UMLAUTS.get(letter, letter) if random.random() < 0.3 else letter for letter in text)
    chance = random.random()
    return text.title() if chance < 0.2 else text.upper() if chance < 0.25 else text


def entries(random: Random, vocabulary: Sequence[str]) -> Iterator[Entry]:
    """Entries of which many have the same words and the same frequency. The first words are the most common."""
    weights = [1 / (place + 60) for place in range(len(vocabulary))]

    def text(*counts: int) -> str:
        return marked(random, " ".join(random.choices(vocabulary, weights, k=random.choice(counts))))

    def texts(most: int, *counts: int) -> list[str]:
        return [text(*counts) for _ in range(random.randrange(most + 1))]

    taken: set[tuple[str, str, int]] = set()
    while len(taken) < ENTRIES:
        headword, part_of_speech = text(1, 1, 1, 1, 2, 2, 3), random.choice(PARTS_OF_SPEECH)
        for number in range(random.choice((1, 1, 1, 3))):
            if len(taken) == ENTRIES or (headword, part_of_speech, number) in taken:
                continue
            taken.add((headword, part_of_speech, number))
            yield Entry(
                headword,
                part_of_speech,
                number,
                random.choice(FREQUENCIES),
                forms=texts(2, 1, 1, 1, 2),
                translations=texts(2, 1, 2),
                definitions=[text(2, 4), *texts(1, 3)],
                examples=texts(2, 3),
            )
