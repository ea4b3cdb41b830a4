"""Languages (BCP 47): their usual form, and which of them stand in for one."""

import re
from collections.abc import Iterable

_FORM = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
FALLBACK = "en"
_SCRIPT, _REGION = 4, 2


def is_locale(text: str) -> bool:
    """Whether a text has the form of a language, such as `de`, `de-AT` or `zh-Hant-TW`."""
    return _FORM.fullmatch(text) is not None


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
