"""Why an answer is, or is not, served from the cache. It reads what the step `cache` reads, and changes nothing."""

from collections.abc import Mapping
from datetime import timedelta
from time import monotonic

from google.protobuf.message import Message
from plinth.types.v1.explanation_pb2 import Explanation

from server.kernel.caching.cache import AnswerCache
from server.kernel.clock import Clock
from server.kernel.explaining import DEFER, DROP, Explaining
from server.kernel.policy import MethodPolicy
from server.kernel.steps.cache import CachedMethod


class CacheExplainer:
    """Explains cached answers, as one process sees them."""

    def __init__(self, cache: AnswerCache | None, ceiling: float, narrowed: Mapping[str, str], clock: Clock) -> None:
        """As for the step `cache`."""
        self._cache = cache
        self._ceiling = ceiling
        self._narrowed = narrowed
        self._clock = clock

    def explain(self, method: MethodPolicy, tenant_id: str, caller_id: str, request: Message) -> Explanation:
        """Why the answer to this request would or would not come from the memory of this process.

        Steps: `deployment`, `policy`, `request`, `caller`, `writes`, `memory`.
        """
        found = Explaining()
        if self._cache is None:
            unless = "The setting PLINTH_CACHE_ENABLED is true."
            return found.stopped("deployment", DROP, "SWITCHED_OFF", rule="PLINTH_CACHE_ENABLED", unless=unless).answer
        found.passed("deployment", "SWITCHED_ON", rule="PLINTH_CACHE_ENABLED")
        if not method.cache_seconds:
            unless = "The policy of the RPC has `cache`. RPCs that write never have it."
            return found.stopped("policy", DROP, "NOT_DECLARED", unless=unless).answer
        known = CachedMethod.of(method, self._ceiling, self._narrowed)
        rule = "PLINTH_CACHE_LONGEST" if self._ceiling < method.cache_seconds else "policy"
        found.passed("policy", "DECLARED", rule=rule, value=f"{known.seconds:g} s")
        if known.is_search(request):
            unless = "The request has neither a filter nor words to search for."
            return found.stopped("request", DROP, "SEARCH", unless=unless).answer
        found.passed("request", "NO_SEARCH")
        # Of those whom a permission shows more, nothing but the caller's id is known here.
        shared = "SHARED_WITHOUT_PERMISSION" if known.seen_by else "SHARED"
        reason = "PER_CALLER" if known.per_caller else shared
        found.passed("caller", reason, rule=known.seen_by, value=caller_id)
        key = known.key(tenant_id, known.reader(caller_id, ()), request)
        return self._in_memory(self._cache, found, key, known.every_tag(tenant_id, request)).answer

    def _in_memory(self, cache: AnswerCache, found: Explaining, key: bytes, tags: tuple[str, ...]) -> Explaining:
        slots, names = cache.generations.slots(tags), ", ".join(tags)
        if not cache.generations.can_tell(slots):
            return found.stopped(
                "writes", DEFER, "HOSTS_UNKNOWN", value=names, unless="Redis answers, so that writes of all hosts show."
            )
        if cache.generations.stamp(slots) is None:
            return found.stopped(
                "writes", DEFER, "WRITE_UNDER_WAY", value=names, unless="The write under one of the tags has ended."
            )
        found.passed("writes", "NONE_UNDER_WAY", value=names)
        entry = cache.peek(key)
        if entry is None:
            return found.stopped(
                "memory", DROP, "NOT_STORED", unless="The same request is made again: its answer is stored then."
            )
        until = self._clock() + timedelta(seconds=entry.until - monotonic())
        if entry.until < monotonic():
            return found.stopped(
                "memory", DROP, "EXPIRED", time=until, unless="The same request is made again within its time to live."
            )
        if not cache.generations.is_current(entry.slots, entry.stamp):
            return found.stopped(
                "memory", DROP, "INVALIDATED", value=names, unless="Nothing is written under its tags meanwhile."
            )
        return found.passed("memory", "STORED", value=f"{len(entry.body)} bytes", time=until)
