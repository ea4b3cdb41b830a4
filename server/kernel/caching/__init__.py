"""Caching: the cache of answers, and the generations that tell which tags were written since."""

from server.kernel.caching.cache import AnswerCache, Counts, StoreAway
from server.kernel.caching.generations import Generations, Stamp
from server.kernel.caching.tenant_memory import TenantMemory

__all__ = ["AnswerCache", "Counts", "Generations", "Stamp", "StoreAway", "TenantMemory"]
