"""Languages (BCP 47): their usual form, and which of them stand in for one."""

from collections.abc import Iterable

FALLBACK = "en"
_SCRIPT, _REGION = 4, 2


def usual_form(locale: str) -> str:
    """A language as it is usually written (RFC 5646, 2.1.1): `DE-at` as `de-AT`, and `zh-hant-tw` as `zh-Hant-TW`."""
    first, *others = locale.lower().split("-")
    return "-".join((first, *map(_usual_part, others)))


def _usual_part(part: str) -> str:
    if len(part) == _SCRIPT and part.isalpha():
        return part.capitalize()
    return part.upper() if len(part) == _REGION else part


def stand_ins(locales: Iterable[str]) -> list[str]:
    """The languages to look for, the best first: each with the wider ones that it is a part of, and `en` at last."""
    found: dict[str, None] = {}
    for locale in (*locales, FALLBACK):
        parts = usual_form(locale).split("-")
        found |= dict.fromkeys("-".join(parts[:length]) for length in range(len(parts), 0, -1) if locale)
    return list(found)
