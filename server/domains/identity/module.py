"""Identity: users, their sessions and passwords, and API keys."""

from datetime import timedelta

from server.domains.identity.api_key_usage import UsageCounter
from server.domains.identity.api_keys import ApiKeys, ApiKeyService, key_hash
from server.domains.identity.auth import AuthService
from server.domains.identity.passwords import Passwords
from server.domains.identity.sessions import Sessions
from server.domains.identity.sign_in_guard import KNOWN_FOR, SignInGuard
from server.domains.identity.tables import api_key_usage, sessions, sign_in_networks
from server.kernel.module import Expire, Foundation, Module, Platform, Serve
from server.kernel.ports import Offers

# Retention of the usage counts of API keys.
USAGE_KEPT = timedelta(days=92)


def _auth(platform: Platform) -> AuthService:
    settings = platform.settings
    return AuthService(
        platform.access_tokens,
        Sessions(settings.secrets, timedelta(seconds=settings.refresh_token_lifetime), platform.clock),
        platform.ports.memberships,
        Passwords(settings.password_memory),
        guard=SignInGuard(platform.limiter, platform.guesses, platform.rates["auth_failure"]),
        default_tenant=settings.default_tenant,
    )


def _api_keys(platform: Platform) -> ApiKeyService:
    return ApiKeyService(
        key_hash(platform.settings.secrets), platform.permissions, platform.user_grants, platform.clock
    )


def _offers(foundation: Foundation) -> Offers:
    return Offers(
        api_keys=ApiKeys(foundation.database, foundation.settings.secrets, foundation.clock),
        usage=UsageCounter(foundation.database),
    )


MODULE = Module(
    "identity",
    services=(Serve(AuthService, _auth), Serve(ApiKeyService, _api_keys)),
    offers=_offers,
    retention=(
        Expire(table=sessions, by="expire_time"),
        Expire(table=sign_in_networks, by="last_time", after=KNOWN_FOR),
        Expire(table=api_key_usage, by="day", after=USAGE_KEPT),
    ),
)
