"""Guesses at one account, from however many addresses they come.

Passwords that are tried from ten thousand networks are tried once from each, which no limit by address sees. An account
therefore has a budget of failures as well. A network from which its owner has signed in lately has a budget of its own.
An attacker who uses up the account's budget keeps the owner out of places where the owner never was, and nowhere else.
Sessions go on in any case.

Accounts are named by address, whether or not there is one, so that nobody learns from a refusal which ones there are.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.statements import Row, Statement
from server.domains.identity.tables import sign_in_networks, users
from server.kernel.call import Call
from server.kernel.guard import Guesses, LimitsAway, RateLimiter
from server.kernel.rates import Rate, Verdict, refusal

RATE_CLASS, SCOPE = "auth_failure", "account"
# An address is blocked before it has used up an account by itself.
CALLS, PERIOD = 2, 4
"""How many times the failures of an address an account has, in how many times its period."""
MOST_NETWORKS = 50
KNOWN_FOR = timedelta(days=90)
_known_for: ColumnElement[timedelta] = literal_column(f"interval '{KNOWN_FOR.days} days'")

_networks = sign_in_networks.c
IS_FORGOTTEN: ColumnElement[bool] = _networks.last_time < func.now() - _known_for
"""Whether it is too long ago that a user signed in from a network."""
_user = bindparam("user_id", type_=UUID(as_uuid=False))
_network = bindparam("network", type_=_networks.network.type)

IS_KNOWN: ColumnElement[bool] = exists(literal_column("1")).where(
    _networks.user_id == users.c.id, _networks.network == _network, ~IS_FORGOTTEN
)
"""Takes `network`. Whether a user has signed in from there lately."""

_new = insert(sign_in_networks).values(user_id=_user, network=_network)
REMEMBER = Statement(
    _new.on_conflict_do_update(
        index_elements=[_networks.user_id, _networks.network],
        set_={"last_time": func.now()},
        where=_networks.last_time < func.now() - literal_column("interval '1 day'"),
    )
)
"""Takes `user_id` and `network`."""

_others = sign_in_networks.alias("others").c
_latest = (
    select(_others.network).where(_others.user_id == _user).order_by(_others.last_time.desc()).limit(MOST_NETWORKS)
)
FORGET = Statement(
    delete(sign_in_networks).where(
        _networks.user_id == _user,
        or_(
            IS_FORGOTTEN,
            and_(_networks.network != _network, _networks.network.not_in(_latest)),
        ),
    )
)
"""Takes `user_id` and `network`, which is kept."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to sign in, charged as if it were to fail."""

    key: str
    verdict: Verdict | None
    """None inside the deployment, where nobody vouches for an address, and while Redis is away."""


class SignInGuard:
    """Counts failures to sign in by account."""

    def __init__(self, limiter: RateLimiter, guesses: Guesses, failures: Rate) -> None:
        """`failures` is how many an address has."""
        self._limiter = limiter
        self._guesses = guesses
        self._rate = Rate(failures.calls * CALLS, min(failures.period * PERIOD, 86400.0))

    def admit(self, call: Call, email: str, user: Row | None) -> Attempt:
        """Charge an attempt before the password is looked at. Raises RateLimited when there were too many failures.

        `user` has `is_known`: whether they have signed in from the caller's network lately.
        """
        network = call.client_network
        place = network if user is not None and user["is_known"] else ""
        attempt = Attempt(f"{RATE_CLASS}:{SCOPE}:{email.lower()}:{place}", None)
        if not network:
            return attempt
        try:
            verdict = self._limiter.take(attempt.key, self._rate)
        except LimitsAway:
            # Whether somebody may sign in without Redis was decided by the step `limit`.
            return attempt
        if not verdict.allowed:
            call.limit, call.limit_class = verdict, RATE_CLASS
            raise refusal(RATE_CLASS, SCOPE, verdict)
        return Attempt(attempt.key, verdict)

    def failed(self, attempt: Attempt, password: str) -> None:
        """Give back what was charged for a password that has failed before, as one that a device remembers does."""
        if attempt.verdict is None:
            return
        with suppress(LimitsAway):
            if not self._guesses.is_new(attempt.key, password.encode()):
                self._limiter.give_back(attempt.key, attempt.verdict)

    def succeeded(self, call: Call, attempt: Attempt, user_id: str) -> None:
        """Give back what was charged, and remember where the user signed in from."""
        if attempt.verdict is not None:
            self._limiter.give_back(attempt.key, attempt.verdict)
        network = call.client_network
        if network:
            call.writes.queue(REMEMBER, user_id=user_id, network=network)
            call.writes.queue(FORGET, user_id=user_id, network=network)
