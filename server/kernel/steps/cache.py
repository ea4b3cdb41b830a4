"""cache: answers reads from memory or Redis while nothing has changed under their tags.

It comes after authorise, so that a caller without access gets no cached answer either. It comes before validate,
because a request with a cached answer was valid. Entries are keyed by method, tenant and request, and by the caller if
the answer depends on the caller.
"""

import hashlib
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import cast

from google.protobuf.message import Message

from server.kernel.caching.cache import AnswerCache, Computed, Entry, Read
from server.kernel.call import Call
from server.kernel.chain import Answer, Request, Stream, Unary, serialise
from server.kernel.guard.access import access_tag
from server.kernel.policy import MethodPolicy
from server.kernel.search.declaration import QUERY

ETAG_BYTES = 8
SEES_ALL = "*"
"""Stands for every caller who sees what others do not."""
Tags = Callable[[str | None, Request], tuple[str, ...]]
"""The tags of a request, in the tenant of its call."""


@dataclass(frozen=True, slots=True)
class CachedMethod:
    """How the answers of one RPC are cached."""

    prefix: bytes
    tags: Tags
    """The tags of its policy."""
    seconds: float
    per_caller: bool
    seen_by: str
    """The permission that decides what a caller sees, where nothing else of the caller does; else empty."""
    searches: tuple[str, ...]
    """Fields that make a request a search."""

    @classmethod
    def of(cls, method: MethodPolicy, ceiling: float, narrowed: Mapping[str, str]) -> "CachedMethod":
        """`ceiling` is the longest time to live in seconds; `narrowed` are services whose rows depend on the caller."""
        service = method.descriptor.containing_service.full_name
        fields = method.descriptor.input_type.fields_by_name
        return cls(
            prefix=f"{method.path}\0".encode(),
            tags=tags_template(method.cache_tags),
            seconds=min(method.cache_seconds, ceiling),
            per_caller=method.per_caller or (service in narrowed and not narrowed[service]),
            seen_by=narrowed.get(service, ""),
            searches=tuple(name for name in ("filter", QUERY) if name in fields),
        )

    def is_search(self, request: Request) -> bool:
        """Whether it is a search. Those are seldom repeated, so they would only take the place of other answers."""
        return any(getattr(request, name) for name in self.searches)

    def reader(self, caller_id: str, permissions: Container[str]) -> str:
        """The part of the key that is the same for all callers who share an answer."""
        if self.per_caller:
            return caller_id
        return SEES_ALL if self.seen_by and self.seen_by in permissions else ""

    def key(self, tenant_id: str | None, reader: str, request: Request) -> bytes:
        """The key of an answer."""
        return b"%s%s\0%s\0%s" % (
            self.prefix,
            (tenant_id or "").encode(),
            reader.encode(),
            request.SerializeToString(),
        )

    def every_tag(self, tenant_id: str | None, request: Request) -> tuple[str, ...]:
        """The tags under which an answer is stored."""
        tags = self.tags(tenant_id, request)
        return (*tags, access_tag(tenant_id)) if tenant_id else tags


class Uncacheable(Exception):
    """An answer has headers or a status of its own, which the cache does not store."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__("not kept")


class Cache:
    """Serves reads whose policy has `cache`."""

    name = "cache"

    def __init__(self, cache: AnswerCache | None, ceiling: float, narrowed: Mapping[str, str]) -> None:
        """`ceiling` is the longest time to live in seconds; `narrowed` are services whose rows depend on the caller."""
        self._cache = cache
        self._ceiling = ceiling
        self._narrowed = narrowed

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """A stream is not cached."""
        del method
        return proceed

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Look in memory, then in the store, then compute the answer."""
        cache = self._cache
        if cache is None or not method.cache_seconds:
            return proceed
        counts = cache.counts_of(method.path)
        known = CachedMethod.of(method, self._ceiling, self._narrowed)
        seconds = known.seconds

        def cached(call: Call, request: Request) -> Answer:
            if known.is_search(request):
                return proceed(call, request)
            permissions = call.access.permissions if call.access else frozenset[str]()
            reader = known.reader(call.caller.id if call.principal else "", permissions)
            key = known.key(call.tenant_id, reader, request)
            entry = cache.find(key)
            if entry is not None:
                counts.memory_hits += 1
                call.etag = entry.etag
                return entry.body
            slots = cache.generations.slots(known.every_tag(call.tenant_id, request))
            try:
                found = cache.compute(Read(key, slots, seconds, counts, lambda: _compute(call, request, proceed)))
            except Uncacheable as uncacheable:
                return uncacheable.answer
            body, call.etag = (found.body, found.etag) if isinstance(found, Entry) else found
            return body

        return cached


def tags_template(tags: tuple[str, ...]) -> Tags:
    """A function that fills in tags: `{tenant_id}` is the tenant of the call, other names are fields of the request."""
    if all(tag.count("{") == tag.count("{tenant_id}") for tag in tags):
        return lambda tenant_id, _: tuple(tag.replace("{tenant_id}", tenant_id or "") for tag in tags)

    def fill(tenant_id: str | None, request: Request) -> tuple[str, ...]:
        fields = {field.name: getattr(request, field.name) for field in request.DESCRIPTOR.fields}
        return tuple(tag.format(**fields | {"tenant_id": tenant_id or ""}) for tag in tags)

    return fill


def _compute(call: Call, request: Request, proceed: Unary) -> Computed:
    answer = proceed(call, request)
    if call.headers or call.http_status != call.method.success_status:
        raise Uncacheable(answer)
    body = serialise(answer)
    return body, _etag_of(answer, body)


def _etag_of(answer: Answer, body: bytes) -> str:
    """The resource's own ETag, or one made from the bytes."""
    own = getattr(answer, "etag", "") if isinstance(answer, Message) else ""
    return cast("str", own) or f'W/"{hashlib.blake2b(body, digest_size=ETAG_BYTES).hexdigest()}"'
