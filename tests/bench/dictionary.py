"""`make bench-dictionary`: what searches cost in a dictionary of 200,000 entries, in one tenant among 50.

The entries are made from a list of words (`--words`, such as /usr/share/dict/american-english-huge of Debian's package
wamerican-huge), or from syllables; what is said of them is made of the same words, a few of them in every third text.
They come in by an import, as they would from Wiktionary. Each kind of query is asked over gRPC by one caller, then by
eight at once; all queries differ, so that nothing is answered from memory.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from plinth.dictionary.v1 import dictionary_search_pb2 as search_pb2

from tests.bench.latencies import Call, measure
from tests.clients import Tenant, another_tenant, database, new_tenant
from tests.contract.instances import made
from tests.domains.dictionary.instances import DICTIONARIES, new_dictionary
from tests.stack import Stack

ENTRIES = 200_000
OF_OTHERS = 1_000
TENANTS = 50
SEED = 20261130
PARTS = ("noun", "noun", "noun", "verb", "adj", "adv")


def words_of(path: Path | None, count: int, chance: random.Random) -> list[str]:
    """Different words, the more common first."""
    if path is not None:
        found = dict.fromkeys(line.strip() for line in path.read_text().splitlines())
        listed = [word for word in found if word and not word.endswith("'s")]
        chance.shuffle(listed)
        return listed[:count]
    syllables = ["".join(letters) for letters in product("bdfglmnprstvk", "aeiou", ("", "n", "r", "s"))]
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(chance.choices(syllables, k=chance.choice((1, 2, 2, 3, 3, 3, 4))))] = None
    return list(words)


def lines_of(words: Sequence[str], count: int, chance: random.Random) -> Iterator[bytes]:
    """Lines of Wiktextract. Every word is a headword; further ones have two words."""
    weights = [1 / (place + 5) for place in range(len(words))]
    said = iter(chance.choices(words, weights, k=count * 24))

    def text(length: int) -> str:
        return " ".join(next(said) for _ in range(length))

    for place in range(count):
        word = words[place] if place < len(words) else f"{words[place % len(words)]} {next(said)}"
        yield (
            json.dumps(
                {
                    "word": word,
                    "lang_code": "en",
                    "pos": chance.choice(PARTS),
                    "forms": [{"form": f"{word}s"}, {"form": f"{word}ing"}],
                    "senses": [{"glosses": [f"The {text(8)}."], "examples": [{"text": f"A {text(8)}."}]}],
                    "translations": [{"lang_code": "de", "word": f"{next(said)}en"}],
                }
            ).encode()
            + b"\n"
        )


def bring_in(tenant: Tenant, lines: Iterator[bytes]) -> str:
    """Import lines into a new dictionary, whose id is returned."""
    dictionary_id: str = made(tenant, DICTIONARIES, new_dictionary("en"))["id"]
    fields = {"dictionaryId": dictionary_id, "format": "DICTIONARY_FORMAT_WIKTEXTRACT", "publish": "true"}
    body = ("words.jsonl", b"".join(lines), "application/x-ndjson")
    answer = tenant.rest.request("POST", "/api/v1/dictionary/imports", params=fields, files={"file": body}, timeout=120)
    assert answer.status_code == 202, answer.text
    path = f"/api/v1/long-operations/{answer.json()['id']}/wait"
    while "endTime" not in (operation := tenant.rest.get(path, {"timeoutSeconds": 20}).json()):
        pass
    assert operation["state"] == "STATE_DONE", operation
    assert operation["result"]["refused"] == 0, operation
    return dictionary_id


@contextmanager
def filled(path: Path | None) -> Iterator[tuple[Tenant, list[str]]]:
    """The large tenant among the others, with the words of its dictionary."""
    chance = random.Random(SEED)  # noqa: S311 - the same each time
    words = words_of(path, ENTRIES, chance)
    limits = dict.fromkeys(("default", "tenant", "telemetry"), "100000000/60")
    stack = Stack(api_workers=2, log_level="ERROR", access_token_lifetime=7200, rate_limits=limits)
    try:
        stack.start()
        large = new_tenant(stack)
        started = time.perf_counter()
        bring_in(large, lines_of(words, ENTRIES, chance))
        took = time.perf_counter() - started
        sys.stdout.write(f"import of {ENTRIES:,} entries: {took:.0f} s, {ENTRIES / took:,.0f} a second\n")
        for _ in range(TENANTS - 1):
            bring_in(another_tenant(large), lines_of(words[:OF_OTHERS], OF_OTHERS, chance))
        with database(stack) as connection:
            connection.commit()
            connection.autocommit = True
            connection.execute(b"VACUUM ANALYZE")
        yield large, words
    finally:
        stack.remove()


def queries(tenant: Tenant, words: Sequence[str], chance: random.Random) -> dict[str, Call]:
    """The kinds of queries."""
    stub = tenant.stubs["plinth.dictionary.v1.DictionarySearchService"]
    common, long = words[:300], [word for word in words if len(word) > 7]

    def search(q: str) -> object:
        return stub.SearchDictionary(search_pb2.SearchDictionaryRequest(q=q), timeout=30)

    def suggest(q: str) -> object:
        return stub.SuggestWords(search_pb2.SuggestWordsRequest(q=q), timeout=30)

    def begun(least: int, most: int) -> str:
        return chance.choice(words)[: chance.randint(least, most)]

    return {
        "search: a word": lambda: search(chance.choice(words)),
        "search: a common word": lambda: search(chance.choice(common)),
        "search: a beginning of 1 to 3": lambda: search(begun(1, 3)),
        "search: a beginning of 4 to 6": lambda: search(begun(4, 6)),
        "search: a typo": lambda: search(mistyped(chance.choice(long), chance)),
        "search: two common words": lambda: search(f"{chance.choice(common)} {chance.choice(common)}"),
        "search: five common words": lambda: search(" ".join(chance.choices(common, k=5))),
        "search: the, and a rare word": lambda: search(f"the {chance.choice(words)}"),
        "suggest: 1 to 3 letters": lambda: suggest(begun(1, 3)),
        "suggest: 4 to 6 letters": lambda: suggest(begun(4, 6)),
        "suggest: a typo": lambda: suggest(mistyped(chance.choice(long), chance)),
    }


def mistyped(word: str, chance: random.Random) -> str:
    """A word with a typo."""
    place = chance.randrange(1, len(word) - 1)
    kind = chance.randrange(3)
    if kind == 0:
        return word[:place] + word[place + 1 :]
    if kind == 1:
        return word[:place] + chance.choice("abcdefghij") + word[place:]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def main() -> int:
    """Measure each kind."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.dictionary", description=__doc__)
    parser.add_argument("--words", type=Path, metavar="FILE", help="a list of words, one in a line")
    given = parser.parse_args()
    with filled(given.words) as (tenant, words):
        met = measure(queries(tenant, words, random.Random(SEED)))  # noqa: S311
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
