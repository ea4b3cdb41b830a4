"""Finding tools by words, since the descriptions of hundreds would fill the context of a model."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from server.agents.tools import Tool

_WORD = re.compile(r"[a-z0-9]+")
# How much a word counts in the name of a tool, in its group, and in its description.
_IN_NAME, _IN_GROUP, _IN_DESCRIPTION = 4.0, 2.0, 1.0
# A beginning of a word counts less than the word itself.
_BEGINNING = 0.5
_SHORTEST_BEGINNING = 3


class ToolSearch:
    """Ranks tools by the words that they share with a question: each counts more the fewer tools have it."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._weights = {tool.name: _weights(tool) for tool in tools}
        self._seen = Counter(word for weights in self._weights.values() for word in weights)

    def best(self, question: str, among: Iterable[Tool]) -> list[Tool]:
        """The tools that share a word with the question, the best first; all of them if it has no words."""
        words = _words(question)
        if not words:
            return list(among)
        ranked = [(self._score(words, tool), tool) for tool in among]
        # sorted() keeps the order of the contract among equals.
        return [tool for score, tool in sorted(ranked, key=lambda pair: -pair[0]) if score]

    def _score(self, words: Iterable[str], tool: Tool) -> float:
        weights = self._weights[tool.name]
        return sum(self._worth(word, weights) for word in words)

    def _worth(self, word: str, weights: dict[str, float]) -> float:
        if word in weights:
            return weights[word] * self._rarity(word)
        if len(word) < _SHORTEST_BEGINNING:
            return 0.0
        longer = [weights[other] * self._rarity(other) for other in weights if other.startswith(word)]
        return max(longer, default=0.0) * _BEGINNING

    def _rarity(self, word: str) -> float:
        return math.log(1.0 + len(self._weights) / self._seen[word])


def _weights(tool: Tool) -> dict[str, float]:
    found: dict[str, float] = {}
    # The higher weight is written last.
    for text, weight in (
        (tool.description, _IN_DESCRIPTION),
        (tool.group, _IN_GROUP),
        (tool.title, _IN_NAME),
    ):
        found |= dict.fromkeys(_words(text), weight)
    return found


def _words(text: str) -> set[str]:
    plain = unicodedata.normalize("NFKD", text).casefold()
    return {_singular(word) for word in _WORD.findall(plain)}


def _singular(word: str) -> str:
    """`pages` as `page`, `entries` as `entry`: names of lists have plurals, and questions often do not."""
    if word.endswith("ies") and len(word) > len("ties"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > _SHORTEST_BEGINNING else word
