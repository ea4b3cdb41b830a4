"""Search: words, how they are folded, and the rows by which resources are found."""

from server.kernel.search.declaration import Search
from server.kernel.search.folding import fold
from server.kernel.search.words import Word, asked_words, whole_spellings, words_of

__all__ = ["Search", "Word", "asked_words", "fold", "whole_spellings", "words_of"]
