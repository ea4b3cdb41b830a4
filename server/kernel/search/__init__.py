"""Search: words, how they are folded, and the rows by which resources are found."""

from server.kernel.search.declaration import Search
from server.kernel.search.folding import fold
from server.kernel.search.words import words_of

__all__ = ["Search", "fold", "words_of"]
