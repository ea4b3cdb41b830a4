"""The guards of one process: credentials, access, limits, cache and threads, and the chain made of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from redis import Redis

from server import access
from server.adapters.answers import RedisAnswers
from server.adapters.breaker import Breakers
from server.adapters.generations import RedisGenerations
from server.adapters.guesses import RedisMarks
from server.adapters.limits import RedisLimits
from server.data.transactions import Database
from server.kernel.caching.cache import AnswerCache
from server.kernel.caching.generations import Generations
from server.kernel.chain import Step
from server.kernel.clock import utc_now
from server.kernel.cookies import BrowserCookies
from server.kernel.guard.access import AccessMemory, Permissions
from server.kernel.guard.applied_limits import LimitStandings
from server.kernel.guard.blocks import AddressBlocks
from server.kernel.guard.guesses import Guesses
from server.kernel.guard.limits import RateLimiter, default_rates
from server.kernel.guard.pools import CallThreads, queue_bounds
from server.kernel.guard.tokens import AccessTokens
from server.kernel.inbound.signatures import InboundSignature, verifiers
from server.kernel.keys import derive_key
from server.kernel.module import Foundation, Module
from server.kernel.policy import Access, MethodPolicy
from server.kernel.ports import join_offers
from server.kernel.rates import Rate
from server.kernel.resources import seen_by
from server.kernel.resources.service import narrowed_services
from server.kernel.roles import join_roles
from server.kernel.steps.address import Address
from server.kernel.steps.authenticate import Authenticate
from server.kernel.steps.authorize import Authorize
from server.kernel.steps.cache import Cache
from server.kernel.steps.cache_explaining import CacheExplainer
from server.kernel.steps.cookies import Cookies
from server.kernel.steps.errors import Errors
from server.kernel.steps.headers import Headers
from server.kernel.steps.idempotency import Idempotency
from server.kernel.steps.limit import Limit
from server.kernel.steps.parse import Parse
from server.kernel.steps.raw_body import TakeRawBody
from server.kernel.steps.respond import Respond
from server.kernel.steps.shed import Shed
from server.kernel.steps.signature import Signature
from server.kernel.steps.validate import Validate
from server.metrics import metering
from server.metrics.metering import Reading
from server.settings import Settings


class Guard:
    """The guards of every call in one process."""

    def __init__(
        self,
        settings: Settings,
        process: Callable[[], str],
        redis: Redis,
        database: Database,
        *,
        policies: Mapping[str, MethodPolicy],
        modules: Sequence[Module],
    ) -> None:
        """`redis` is a client; `process` returns the name of the process; `modules` are the domains."""
        self._settings = settings
        self._policies = policies
        self.breakers = Breakers()
        rates = {**default_rates(settings.environment), **settings.rate_limits}
        self.rates = {rate_class: Rate.parse(text) for rate_class, text in rates.items()}
        roles = join_roles(module.roles for module in modules)
        self.permissions = Permissions(roles, _catalogue(policies.values(), modules))
        # Processes that share the embedded Redis share a host, and therefore the file of generations.
        remote = RedisGenerations(redis, self.breakers.make("generations")) if settings.redis_url else None
        self.generations = Generations(settings.socket_dir / "generations", remote)
        self.foundation = Foundation(settings=settings, clock=utc_now, database=database, generations=self.generations)
        self.ports = join_offers({module.name: module.offers(self.foundation) for module in modules if module.offers})
        lifetime = settings.access_token_lifetime
        self.tokens = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=lifetime)
        self._cookies = BrowserCookies.of(settings)
        self.access = access.StoredAccess(database, self.permissions)
        self.authorize = Authorize(AccessMemory(self.access, self.generations), settings.step_up_lifetime)
        self.limiter = RateLimiter(RedisLimits(redis, self.breakers.make("limits")))
        marks = RedisMarks(redis, self.breakers.make("guesses"))
        marks_key = derive_key(settings.secret, "failed credentials")
        self.guesses = Guesses(self.limiter, self.rates["auth_failure"], marks, marks_key)
        self._narrowed = narrowed_services(each for module in modules for each in module.service_classes)
        adapters = _adapters(modules, self.foundation, policies.values())
        self.signature = Signature(adapters, self.limiter, self.rates["auth_failure"])
        self.cache = _cache(settings, process, RedisAnswers(redis, self.breakers.make("answers")), self.generations)
        self.threads = CallThreads(settings.api_threads, thread_name_prefix="call")
        self.slow_threads = CallThreads(settings.slow_threads, thread_name_prefix="slow call")
        self.shed = Shed(self.threads, self.slow_threads, queue_bounds(settings.queue_bound))
        self.limit = Limit(self.limiter, self.rates, self.ports.tenant_rates, settings.rate_limits_strict)
        if settings.rate_limits_enabled:
            # Chains are composed at their first call, which is too late to refuse the start.
            self.limit.check(policies.values())
        self.blocks = AddressBlocks(self.ports.blocks.load, self.generations)

    @property
    def cache_explainer(self) -> CacheExplainer:
        """Explains what the step `cache` does."""
        return CacheExplainer(self.cache, self._settings.cache_longest, self._narrowed, self.foundation.clock)

    @property
    def limit_standings(self) -> LimitStandings | None:
        """Reads the limits that the step `limit` enforces; None if it is left out."""
        if not self._settings.rate_limits_enabled:
            return None
        return LimitStandings(
            self.limiter, self.rates, self.ports.tenant_rates, strict=self._settings.rate_limits_strict
        )

    def steps(self, telemetry: Step, audit: Step, transaction: Step, trace: Step | None = None) -> list[Step]:
        """The chain, outermost first; with `trace` if traces are exported.

        audit comes before every step that refuses a caller except shed, which refuses without a decision. parse comes
        after limit, so that bytes cost nothing before their sender is known. authorise comes before validate (AIP-211),
        so that a caller without access learns nothing. cache comes before validate, which costs 3 us: a request with a
        cached answer was valid. idempotency is inside the transaction in which it writes.
        """
        settings = self._settings
        return [
            Errors(),
            *([trace] if trace else []),
            telemetry,
            Respond(),
            self.shed,
            audit,
            Address(self.blocks, self.guesses, self.ports.blocks.block),
            Parse(early=True),
            Authenticate(self.tokens, self.ports.api_keys, self.ports.tickets),
            self.signature,
            *([self.limit] if settings.rate_limits_enabled else []),
            Parse(),
            Headers(),
            Cookies(self._cookies),
            self.authorize,
            Cache(self.cache, settings.cache_longest, self._narrowed),
            TakeRawBody(),
            Validate(),
            transaction,
            Idempotency(settings.secrets),
        ]

    def delegated_steps(self, transaction: Step) -> list[Step]:
        """The chain of calls that a job makes on behalf of somebody (kernel/delegation.py)."""
        return [self.authorize, Validate(), transaction, Idempotency(self._settings.secrets)]

    def count_cached_reads(self) -> None:
        """List every cached RPC in the statistics, even before its first call composes its chain."""
        for method in self._policies.values():
            if self.cache and method.cache_seconds and not method.streaming:
                self.cache.counts_of(method.path)

    def readings(self, process: str, *, streams: bool) -> list[Reading]:
        """The readings of the guards in a process of this name. Streams wait for no thread and are not cached."""
        limits = metering.of_limits(self.limit)
        if streams:
            return [limits]
        return [
            limits,
            metering.of_shedding(self.shed),
            metering.of_threads(process, "fast", self.threads),
            metering.of_threads(process, "slow", self.slow_threads),
            *([metering.of_cache(process, self.cache)] if self.cache else []),
        ]


def _catalogue(policies: Iterable[MethodPolicy], modules: Iterable[Module]) -> list[str]:
    """The permissions that roles can hold, without those of platform administrators."""
    classes = (service for module in modules for service in module.service_classes)
    return [*(policy.permission for policy in policies if policy.access is Access.PERMISSION), *seen_by(classes)]


def _adapters(
    modules: Iterable[Module], foundation: Foundation, policies: Iterable[MethodPolicy]
) -> dict[str, InboundSignature]:
    """The adapters of calls that providers sign, by name."""
    return verifiers({module.name: module.inbound(foundation) for module in modules if module.inbound}, policies)


def _cache(
    settings: Settings, process: Callable[[], str], answers: RedisAnswers, generations: Generations
) -> AnswerCache | None:
    if not settings.cache_enabled:
        return None
    return AnswerCache(generations, answers, settings.cache_bytes, process)
