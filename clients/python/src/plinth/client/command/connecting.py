"""Clients for commands: with a profile, or with what the environment names."""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from plinth.client.client import Plinth
from plinth.client.command.faults import CommandFault, fault_of
from plinth.client.command.profiles import Profile, Profiles
from plinth.client.errors import PlinthError, Unauthenticated
from plinth.client.sessions import REFRESH
from plinth.identity.v1 import auth_pb2

URL, API_KEY, PROFILE = "PLINTH_CLIENT_URL", "PLINTH_CLIENT_API_KEY", "PLINTH_CLIENT_PROFILE"
"""The environment of a script that has no profile, and the profile of one that has."""
EXPIRED = "TOKEN_EXPIRED"
T = TypeVar("T")
# An access token that expires sooner is renewed before it is used.
EARLY = 60.0


@dataclass(frozen=True)
class Target:
    """Which Plinth, and as whom."""

    url: str
    secret: str
    """An API key or an access token; empty for a caller without credentials."""

    def client(self, user_agent: str = "plinth-command") -> Plinth:
        """A client. Raises CommandFault for an address that is none."""
        try:
            return Plinth(self.url, token=self.secret or None, user_agent=user_agent)
        except ValueError as error:
            raise CommandFault(str(error)) from error


def add_target(parser: argparse.ArgumentParser) -> None:
    """Let a command be told which profile it uses."""
    parser.add_argument("--profile", default="", help=f"the login to use (default: {PROFILE}, or the chosen one)")


def work_with(options: argparse.Namespace, work: Callable[[Plinth], T]) -> T:
    """Do something with a client, and again with a renewed session if its token expires. Raises CommandFault."""
    refused = ""
    while True:
        target = target_of(options, refused)
        try:
            with target.client() as client:
                return work(client)
        except Unauthenticated as error:
            if error.reason != EXPIRED or target.secret == refused:
                raise fault_of(error) from error
            refused = target.secret
        except PlinthError as error:
            raise fault_of(error) from error


def target_of(options: argparse.Namespace, refused: str = "") -> Target:
    """What the options and the environment name. Raises CommandFault.

    A session is renewed if it is due, or if its access token is the one that the server has refused.
    """
    if not options.profile and URL in os.environ:
        return Target(os.environ[URL], os.environ.get(API_KEY, ""))
    profile = fresh(Profiles.of_user(), options.profile or os.environ.get(PROFILE, ""), refused)
    return Target(profile.url, profile.secret)


def fresh(profiles: Profiles, name: str, refused: str = "") -> Profile:
    """A profile whose secret is good for a while, and not the refused one. Raises CommandFault."""

    def is_good(profile: Profile) -> bool:
        return bool(profile.api_key) or (profile.is_good_for(EARLY) and profile.secret != refused)

    wanted, profile = profiles.get(name)
    if is_good(profile):
        return profile
    with profiles.changing() as stored:
        # Another command may have renewed it, or logged out.
        profile = stored.profiles.get(wanted, profile)
        if not is_good(profile):
            profile = stored.profiles[wanted] = _renewed(wanted, profile)
    return profile


def of_session(profile: Profile, session: auth_pb2.Session) -> Profile:
    """The profile with the tokens of a session."""
    return replace(
        profile,
        access_token=session.access_token,
        refresh_token=session.refresh_token,
        expires_at=time.time() + session.expires_in,
        tenant_id=session.tenant_id,
    )


def _renewed(name: str, profile: Profile) -> Profile:
    request = auth_pb2.RefreshTokenRequest(refresh_token=profile.refresh_token)
    try:
        with Target(profile.url, "").client() as client:
            return of_session(profile, client.calls.unary(REFRESH, request))
    except PlinthError as error:
        if error.code.name == "UNAUTHENTICATED":
            raise CommandFault(f"the session of `{name}` has ended: log in again with `plinth login`") from error
        raise fault_of(error) from error
