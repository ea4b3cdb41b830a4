"""AIP-160 filters: from text to a tree. The SQL of a tree is made in filter_sql.py.

    status = PUBLISHED AND (title = "Home*" OR create_time > "2026-01-01T00:00:00Z") AND NOT slug:home

OR binds tighter than AND, as in AIP-160. `:` on text means contains; `field:*` means that it is set; a `*` at the start
or end of quoted text matches any text there. Free text without a field is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from server.kernel.problems import Malformed, Reason

MOST_TERMS = 50
DEEPEST = 20
LONGEST_REMEMBERED = 500

_LEXEME = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<operator><=|>=|!=|=|<|>|:)
    | (?P<punctuation>[()]|-(?=\S))
    | (?P<word>[^\s()"'<>=!:,]+)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field operator value`. The shape has no values: `place` is the index of the value in `Filter.values`."""

    field: str
    operator: str
    place: int


@dataclass(frozen=True, slots=True)
class Group:
    """`and`, `or` or `not` over parts."""

    operator: str
    parts: tuple["Node", ...]


Node = Comparison | Group


@dataclass(frozen=True, slots=True)
class Value:
    """A value as written, and whether it was quoted. In quoted text `*` is a wildcard, and no word is a keyword."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter: its shape, which keys the cache of statements, and its values."""

    shape: Node | None
    values: tuple[Value, ...]


def comparisons(node: Node | None) -> Iterator[Comparison]:
    """Every comparison of a tree, in the order of the text."""
    if isinstance(node, Comparison):
        yield node
    elif node is not None:
        for part in node.parts:
            yield from comparisons(part)


def refuse(message: str, position: int) -> NoReturn:
    """Raise Malformed for a wrong filter, with the position of the fault."""
    raise Malformed(
        f"filter: {message} at character {position + 1}.",
        reason=Reason.REASON_FILTER_INVALID,
        metadata={"position": str(position + 1)},
    )


def parse_filter(text: str) -> Filter:
    """Parse a filter. Raises Malformed, with the position, if it is not one."""
    # Callers choose the text, so only short filters are cached: about 8 MB at most.
    return _remembered(text) if len(text) <= LONGEST_REMEMBERED else _parse(text)


def _parse(text: str) -> Filter:
    parser = _Parser(text)
    shape = parser.filter()
    return Filter(shape, tuple(parser.values))


_remembered = lru_cache(maxsize=512)(_parse)


class _Parser:
    """Recursive descent over the grammar of AIP-160, without functions and free text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0
        self.values: list[Value] = []
        self._advance()

    def _advance(self) -> None:
        rest = self._text[self._position :]
        self._start = self._position + len(rest) - len(rest.lstrip())
        if not rest.strip():
            self._kind, self._lexeme = "end", ""
            return
        match = _LEXEME.match(self._text, self._position)
        if match is None or match.lastgroup is None:
            refuse("a character that belongs to nothing", self._start)
        self._kind, self._lexeme = match.lastgroup, match[match.lastgroup]
        self._position = match.end()

    def filter(self) -> Node | None:
        """The whole text."""
        if self._kind == "end":
            return None
        node = self._expression()
        if self._kind != "end":
            refuse(f"`{self._lexeme}` is not expected", self._start)
        return node

    def _expression(self) -> Node:
        """Factors joined by AND, or by juxtaposition."""
        self._depth += 1
        if self._depth > DEEPEST:
            refuse(f"more than {DEEPEST} levels", self._start)
        parts = [self._factor()]
        while self._kind != "end" and self._lexeme != ")":
            if self._is_word("AND"):
                self._advance()
            parts.append(self._factor())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Group("and", tuple(parts))

    def _factor(self) -> Node:
        """Terms joined by OR."""
        parts = [self._term()]
        while self._is_word("OR"):
            self._advance()
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else Group("or", tuple(parts))

    def _term(self) -> Node:
        if self._is_word("NOT") or (self._kind == "punctuation" and self._lexeme == "-"):
            self._advance()
            return Group("not", (self._simple(),))
        return self._simple()

    def _simple(self) -> Node:
        if self._lexeme == "(" and self._kind == "punctuation":
            self._advance()
            node = self._expression()
            if self._lexeme != ")":
                refuse("a closing parenthesis is missing", self._start)
            self._advance()
            return node
        return self._comparison()

    def _comparison(self) -> Comparison:
        field, start = self._lexeme, self._start
        if self._kind != "word":
            refuse("a field is expected", start)
        self._advance()
        operator = self._lexeme
        if self._kind != "operator":
            refuse(f"`{field}` needs an operator (= != < <= > >= :) and a value", start)
        self._advance()
        if len(self.values) >= MOST_TERMS:
            refuse(f"more than {MOST_TERMS} comparisons", start)
        self.values.append(self._value())
        return Comparison(field, operator, len(self.values) - 1)

    def _value(self) -> Value:
        kind, lexeme, start = self._kind, self._lexeme, self._start
        negative = kind == "punctuation" and lexeme == "-"
        if negative:
            self._advance()
            kind, lexeme = self._kind, self._lexeme
        if kind not in ("word", "string") or (negative and kind == "string"):
            refuse("a value is expected", start)
        self._advance()
        if kind == "string":
            return Value(re.sub(r"\\(.)", r"\1", lexeme[1:-1]), quoted=True)
        return Value(f"-{lexeme}" if negative else self._joined(lexeme), quoted=False)

    def _joined(self, lexeme: str) -> str:
        """A bare timestamp with its colons, which are operators elsewhere: 2026-01-01T00:00:00Z."""
        while self._kind == "operator" and self._lexeme == ":" and self._text[self._start - 1 : self._start].isdigit():
            self._advance()
            lexeme = f"{lexeme}:{self._lexeme}"
            self._advance()
        return lexeme

    def _is_word(self, word: str) -> bool:
        return self._kind == "word" and self._lexeme == word
