"""Protection of one account against guesses from many addresses.

An attacker who tries each password from another of ten thousand networks stays below every limit by address. An account
therefore has a limit of failures too. A network from which its owner has recently signed in has a separate limit. An
attacker who exhausts the limit of the account therefore locks its owner out only on networks new to the account.
Existing sessions are not affected.

Accounts are named by address, whether or not they exist, so that a refusal does not reveal which ones do.
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
# An address is blocked before it alone has exhausted the limit of an account.
CALLS, PERIOD = 2, 4
"""The limit of an account, as multiples of the failures and of the period of an address."""
MOST_NETWORKS = 50
KNOWN_FOR = timedelta(days=90)
_known_for: ColumnElement[timedelta] = literal_column(f"interval '{KNOWN_FOR.days} days'")

_networks = sign_in_networks.c
IS_FORGOTTEN: ColumnElement[bool] = _networks.last_time < func.now() - _known_for
"""Whether the last sign-in of a user from a network is too long ago."""
_user = bindparam("user_id", type_=UUID(as_uuid=False))
_network = bindparam("network", type_=_networks.network.type)

IS_KNOWN: ColumnElement[bool] = exists(literal_column("1")).where(
    _networks.user_id == users.c.id, _networks.network == _network, ~IS_FORGOTTEN
)
"""Takes `network`. Whether a user has recently signed in from there."""

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
"""Takes `user_id` and `network`. Keeps that network."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to sign in, charged in advance as a failure."""

    key: str
    verdict: Verdict | None
    """None inside the deployment, where no address is vouched for, and while Redis does not answer."""


class SignInGuard:
    """Counts failed sign-ins by account."""

    def __init__(self, limiter: RateLimiter, guesses: Guesses, failures: Rate) -> None:
        """`failures` is the rate of an address."""
        self._limiter = limiter
        self._guesses = guesses
        self._rate = Rate(failures.calls * CALLS, min(failures.period * PERIOD, 86400.0))

    def admit(self, call: Call, email: str, user: Row | None) -> Attempt:
        """Charge an attempt before the password is checked. Raises RateLimited after too many failures.

        `is_known` of `user` tells whether the user has recently signed in from the caller's network.
        """
        network = call.client_network
        place = network if user is not None and user["is_known"] else ""
        attempt = Attempt(f"{RATE_CLASS}:{SCOPE}:{email.lower()}:{place}", None)
        if not network:
            return attempt
        try:
            verdict = self._limiter.take(attempt.key, self._rate)
        except LimitsAway:
            # The step `limit` has already decided whether sign-ins are allowed without Redis.
            return attempt
        if not verdict.allowed:
            call.limit, call.limit_class = verdict, RATE_CLASS
            raise refusal(RATE_CLASS, SCOPE, verdict)
        return Attempt(attempt.key, verdict)

    def failed(self, attempt: Attempt, password: str) -> None:
        """Return the charge for a password that failed before, such as one that a device has stored."""
        if attempt.verdict is None:
            return
        with suppress(LimitsAway):
            if not self._guesses.is_new(attempt.key, password.encode()):
                self._limiter.give_back(attempt.key, attempt.verdict)

    def succeeded(self, call: Call, attempt: Attempt, user_id: str) -> None:
        """Return the charge, and remember the network of the user."""
        self.spare(attempt)
        self.remember(call, user_id)

    def spare(self, attempt: Attempt) -> None:
        """Return the charge for a password that was right."""
        if attempt.verdict is not None:
            self._limiter.give_back(attempt.key, attempt.verdict)

    def remember(self, call: Call, user_id: str) -> None:
        """Remember the network of a user who has signed in."""
        network = call.client_network
        if network:
            call.writes.queue(REMEMBER, user_id=user_id, network=network)
            call.writes.queue(FORGET, user_id=user_id, network=network)
