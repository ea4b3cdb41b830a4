"""How words of other programs are written in ours."""

import re

from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry, Pronunciation, Translation

from server.domains.dictionary.formats.limits import most_characters

_OTHER = re.compile(r"[^a-z0-9_-]+")
_MOST_PART_OF_SPEECH = most_characters(DictionaryEntry, "part_of_speech")
# As `plinth.types.v1.language_tag` has it.
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_MOST_LANGUAGE = most_characters(Translation, "language")
# As `plinth.types.v1.http_url` has it.
_WEB_ADDRESS = re.compile(r"https?://[^\s]+", re.ASCII)
_MOST_ADDRESS = most_characters(Pronunciation, "audio_url")


def part_of_speech_of(name: str) -> str:
    """A part of speech in lower-case letters, digits, `_` and `-`: `proper_noun` for `Proper noun`."""
    if _OTHER.search(name):
        name = _OTHER.sub("_", name.lower()).strip("_")
    return name[:_MOST_PART_OF_SPEECH]


def is_language(tag: str) -> bool:
    """Whether a text is a language tag."""
    return len(tag) <= _MOST_LANGUAGE and _LANGUAGE.fullmatch(tag) is not None


def is_web_address(address: str) -> bool:
    """Whether something can be heard at an address."""
    return len(address) <= _MOST_ADDRESS and _WEB_ADDRESS.fullmatch(address) is not None
