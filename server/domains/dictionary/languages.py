"""Languages: which letters are letters of their own, and texts as a dictionary of a language compares them.

Letters with diacritics are taken for the bare ones, unless the collation of the language (CLDR) takes them for letters
of their own, as Swedish does with `å` and Polish with `ł`. German and French have none.
"""

from collections.abc import Mapping

from server.kernel.search import fold, whole_spellings

LONGEST = 200
"""Characters of a whole text that is compared."""
_BALTIC, _NORDIC, _SOUTH_SLAVIC, _TURKIC = "čšž", "æøå", "čćđšž", "çğıöşü"
_KEPT: Mapping[str, str] = {
    "az": f"{_TURKIC}ə",
    "be": "йў",
    "bg": "й",
    "bs": _SOUTH_SLAVIC,
    "cs": "čřšž",
    "da": _NORDIC,
    "eo": "ĉĝĥĵŝŭ",
    "es": "ñ",
    "et": "šžõäöü",
    "fi": "åäö",
    "hr": _SOUTH_SLAVIC,
    "hu": "öüőű",
    "is": "áéíóúýðþæö",
    "lt": _BALTIC,
    "lv": f"{_BALTIC}ģķļņ",
    "mt": "ċġħż",
    "nb": _NORDIC,
    "nn": _NORDIC,
    "no": _NORDIC,
    "pl": "ąćęłńóśźż",
    "ro": "ăâîșț",
    "ru": "й",
    "sk": "äčôšž",
    "sl": "čšž",
    "sq": "çë",
    "sr": _SOUTH_SLAVIC,
    "sv": "åäö",
    "tr": _TURKIC,
    "uk": "йїґ",
}


def kept_letters(language: str) -> str:
    """The letters that a language (BCP 47) takes for letters of their own."""
    return _KEPT.get(language.partition("-")[0].lower(), "")


def wholes(text: str, kept: str) -> tuple[str, ...]:
    """A headword or form as it is compared as a whole. Of signs alone, such as `?`, the signs."""
    found = whole_spellings(text, kept) or (fold(text.strip()),)
    return tuple(dict.fromkeys(each[:LONGEST] for each in found))
