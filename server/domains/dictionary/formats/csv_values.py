r"""Several values in one field, with `|` between them.

A `|` of a value is written as `\|`. A `\` is written as `\\` in front of a `|`, and as itself everywhere else.
"""

from collections.abc import Iterable

_SEPARATOR = "|"
_ESCAPE = "\\"


def joined(values: Iterable[str]) -> str:
    """A field that holds these values."""
    return _joined((_joined(value.split(_SEPARATOR), _ESCAPE + _SEPARATOR) for value in values), _SEPARATOR)


def split(field: str) -> list[str]:
    """The values that a field holds, without empty ones."""
    values, value = [], ""
    *parts, last = field.split(_SEPARATOR)
    for part in parts:
        bare = part.rstrip(_ESCAPE)
        pairs, is_escaped = divmod(len(part) - len(bare), 2)
        value += bare + _ESCAPE * pairs
        if is_escaped:
            value += _SEPARATOR
        else:
            values.append(value)
            value = ""
    return [each for each in (*values, value + last) if each]


def _joined(parts: Iterable[str], between: str) -> str:
    """Parts with a separator between them. What they end with cannot be taken for a part of it."""
    *firsts, last = [*parts] or [""]
    return "".join(first + _ESCAPE * (len(first) - len(first.rstrip(_ESCAPE))) + between for first in firsts) + last
