"""The credentials of a client: an API key, a token, or a session that renews itself."""

import threading
from collections.abc import Callable

from plinth.client.errors import PlinthError
from plinth.client.sessions import Login, Tokens
from plinth.identity.v1 import auth_pb2

Refresh = Callable[[auth_pb2.RefreshTokenRequest], auth_pb2.Session]
"""Exchanges a refresh token. Raises PlinthError."""


class Credentials:
    """Gives the token of the next call. Threads share it: one of them renews, and the others get what it got.

    They have to: a refresh token is rotated at every use, and one that is used again later ends its session.
    """

    def __init__(
        self,
        start: Tokens | Login | None,
        log_in: Callable[[auth_pb2.LogInRequest], auth_pb2.Session],
        refresh: Refresh,
    ) -> None:
        self._state = start
        self._log_in = log_in
        self._refresh = refresh
        self._lock = threading.Lock()

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of now; None before the first login, and without credentials."""
        return self._state if isinstance(self._state, Tokens) else None

    def adopt(self, session: auth_pb2.Session) -> Tokens:
        """Go on with the tokens of an answer."""
        tokens = self._state = Tokens.of(session)
        return tokens

    def token(self) -> str:
        """The token to call with, renewed if it expires soon; empty without credentials. Raises PlinthError."""
        tokens = self._state
        if isinstance(tokens, Login) or (tokens and tokens.is_due):
            with self._lock:
                tokens = self._current()
        return tokens.access_token if tokens else ""

    def renew(self, refused: str) -> bool:
        """Renew the token that the server refused. False if nothing renews it. Raises PlinthError."""
        with self._lock:
            tokens = self.tokens
            if tokens is None or not tokens.refresh_token:
                return False
            if tokens.access_token == refused:
                self.adopt(self._refresh(tokens.renewal))
            return True

    def _current(self) -> Tokens | None:
        """The tokens of now, renewed if nobody else has done it meanwhile."""
        state = self._state
        if isinstance(state, Login):
            return self.adopt(self._log_in(state.request))
        if state is None or not state.is_due:
            return state
        try:
            return self.adopt(self._refresh(state.renewal))
        except PlinthError:
            # Early enough: the old token is good for a while, and the next call tries again.
            if state.is_expired:
                raise
            return state
