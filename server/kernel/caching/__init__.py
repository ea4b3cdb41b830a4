"""Caching: answers that are kept, and the generations that say what was written since."""

from server.kernel.caching.cache import AnswerCache, Counts, StoreAway
from server.kernel.caching.generations import Generations, Stamp

__all__ = ["AnswerCache", "Counts", "Generations", "Stamp", "StoreAway"]
