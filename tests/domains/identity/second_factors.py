"""Users with a second factor, and tokens of those who have proven themselves long ago."""

import base64
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from server.domains.identity.totp import STEP, code_at
from server.kernel.call import Principal
from server.kernel.guard import AccessTokens
from tests.clients import Account, Rest, Session, log_in, rows
from tests.stack import Stack


@dataclass(frozen=True)
class Secured:
    """A user with an authenticator app."""

    stack: Stack
    account: Account
    session: Session
    """From before the app was confirmed."""
    secret: bytes
    recovery_codes: list[str]

    @property
    def rest(self) -> Rest:
        """REST in that session."""
        return Rest(self.stack, self.session.access_token)

    def code(self) -> str:
        """The code of now, as if none had been used before."""
        rows(
            self.stack,
            "UPDATE authenticators SET last_step = 0 WHERE user_id = %s RETURNING last_step",
            self.account.id,
        )
        return app_code(self.secret)

    def challenge(self) -> str:
        """That of a sign-in with the right password."""
        answer = Rest(self.stack).post("auth/login", {"email": self.account.email, "password": self.account.password})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["secondFactor"]["challenge"])

    def complete(self, code: str, challenge: str = "") -> Any:
        """The answer to a code."""
        return Rest(self.stack).post("auth/login/complete", {"challenge": challenge or self.challenge(), "code": code})


def app_code(secret: bytes, steps: int = 0) -> str:
    """What an app shows now, or some steps of 30 seconds later."""
    return code_at(secret, int(time.time()) // STEP + steps).decode()


def secured(stack: Stack, account: Account) -> Secured:
    """Give somebody a second factor."""
    session = log_in(stack, account)
    rest = Rest(stack, session.access_token)
    started = rest.post("auth/second-factor/totp", {})
    assert started.status_code == 200, started.text
    secret = base64.b32decode(started.json()["secret"])
    confirmed = rest.post("auth/second-factor/totp/confirm", {"code": app_code(secret)})
    assert confirmed.status_code == 200, confirmed.text
    return Secured(stack, account, session, secret, confirmed.json()["codes"])


def proven_long_ago(stack: Stack, session: Session, seconds: int = 4000, *, is_platform: bool = False) -> str:
    """An access token of a session, whose user proved this long ago who they are."""
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    tokens = AccessTokens(stack.settings.secrets, issuer="plinth", lifetime=900, clock=lambda: datetime.now(UTC))
    return tokens.issue(
        Principal(
            claims["sub"],
            claims["sid"],
            session.tenant_id or None,
            session.roles,
            is_platform=is_platform,
            expires_at=0,
            proven_at=time.time() - seconds,
        )
    )
