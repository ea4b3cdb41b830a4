"""Clients for commands: with a profile, or with what the environment names."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from plinth.client.client import Plinth
from plinth.client.command.faults import CommandFault, fault_of
from plinth.client.command.profiles import Profiles
from plinth.client.credentials import Refresh
from plinth.client.errors import PlinthError, Unauthenticated
from plinth.client.sessions import REFRESH, Tokens
from plinth.identity.v1.auth_pb2 import RefreshTokenRequest, Session

URL, API_KEY, PROFILE = "PLINTH_CLIENT_URL", "PLINTH_CLIENT_API_KEY", "PLINTH_CLIENT_PROFILE"
"""The environment of a script that has no profile, and the profile of one that has."""
USER_AGENT = "plinth-command"
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """Which Plinth, and as whom."""

    url: str
    secret: str = ""
    """An API key or an access token; empty for a caller without credentials."""
    refresh_token: str = ""
    refresh: Refresh | None = None
    """Renews a session that several commands share."""

    def client(self) -> Plinth:
        """Make a client. Raises CommandFault if the address is not a URL."""
        try:
            return Plinth(
                self.url,
                token=self.secret or None,
                refresh_token=self.refresh_token or None,
                refresh=self.refresh,
                user_agent=USER_AGENT,
            )
        except ValueError as error:
            raise CommandFault(str(error)) from error


class SharedSession:
    """The session of a profile, of which one command at a time renews the tokens, for all of them."""

    def __init__(self, profiles: Profiles, name: str) -> None:
        self._profiles = profiles
        self._name = name

    def __call__(self, request: RefreshTokenRequest) -> Session:
        """The tokens that follow these: those in the file if another command has renewed them. Raises PlinthError."""
        with self._profiles.changing() as stored:
            profile = stored.profiles.get(self._name)
            if profile is None:
                raise Unauthenticated(f"The profile `{self._name}` was logged out meanwhile.")
            tokens = Tokens.given(profile.access_token, profile.refresh_token)
            if profile.refresh_token != request.refresh_token and not tokens.is_due:
                return profile.session(tokens.lifetime)
            request = RefreshTokenRequest(refresh_token=profile.refresh_token)
            with Target(profile.url).client() as client:
                session = client.calls.unary(REFRESH, request)
            stored.profiles[self._name] = profile.renewed(session)
            return session


def add_target(parser: argparse.ArgumentParser) -> None:
    """Let a command be told which profile it uses."""
    parser.add_argument("--profile", default="", help=f"the login to use (default: {PROFILE}, or the chosen one)")


def work_with(options: argparse.Namespace, work: Callable[[Plinth], T]) -> T:
    """Do something with a client. Raises CommandFault."""
    try:
        with target_of(options).client() as client:
            return work(client)
    except PlinthError as error:
        raise fault_of(error) from error


def target_of(options: argparse.Namespace) -> Target:
    """What the options and the environment name. Raises CommandFault."""
    if not options.profile and URL in os.environ:
        return Target(os.environ[URL], os.environ.get(API_KEY, ""))
    return target_of_profile(Profiles.of_user(), options.profile or os.environ.get(PROFILE, ""))


def target_of_profile(profiles: Profiles, name: str) -> Target:
    """The Plinth of a profile, by default of the chosen one. Raises CommandFault."""
    stored = profiles.read()
    wanted = name or stored.chosen
    profile = stored.get(wanted)
    if profile.api_key:
        return Target(profile.url, profile.api_key)
    return Target(profile.url, profile.access_token, profile.refresh_token, SharedSession(profiles, wanted))
