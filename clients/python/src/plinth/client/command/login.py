"""`plinth login`, `plinth logout` and `plinth profiles`."""

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from plinth.client.command.connecting import PROFILE, Target, target_of_profile
from plinth.client.command.faults import CommandFault, fault_of
from plinth.client.command.output import print_json, print_table, say
from plinth.client.command.profiles import DEFAULT, Profile, Profiles
from plinth.client.errors import PlinthError
from plinth.identity.v1 import auth_pb2

_COLUMNS = ("name", "url", "who", "tenantId")


def add_commands(commands: Any) -> None:
    """Add the commands to a parser."""
    login = commands.add_parser(
        "login",
        help="log in, for further commands",
        description="Log in, and keep the session in a profile that further commands use.",
        epilog="plinth login --url https://plinth.example --email ada@example.com",
    )
    login.set_defaults(run=log_in)
    login.add_argument("--url", required=True, help="the address of the Plinth")
    login.add_argument("--profile", default=DEFAULT, metavar="NAME", help="name of the profile (default: %(default)s)")
    login.add_argument("--email", help="mail address of a user; the password is asked for")
    login.add_argument("--password-file", help="a file with the password, or - for standard input")
    login.add_argument("--code", default="", help="code of the second factor; asked for if the user has one")
    login.add_argument("--tenant", default="", help="subdomain of the tenant (default: that of the last login)")
    login.add_argument("--api-key-file", help="a file with an API key, or - for standard input, instead of a user")
    logout = commands.add_parser("logout", help="end a session and forget it")
    logout.set_defaults(run=log_out)
    logout.add_argument("--profile", default="", metavar="NAME", help="the profile (default: the chosen one)")
    profiles = commands.add_parser("profiles", help="list the logins, choose one, or forget one")
    profiles.set_defaults(run=list_profiles)
    profiles.add_argument("--json", action="store_true", help="print JSON")
    profiles.add_argument("--use", metavar="NAME", help="let commands use this profile")
    profiles.add_argument("--remove", metavar="NAME", help="forget this profile; its session goes on")


def log_in(options: argparse.Namespace) -> int:
    """Log in, and keep the profile."""
    if bool(options.email) == bool(options.api_key_file):
        raise CommandFault("name a user with --email, or a file with an API key with --api-key-file")
    try:
        profile = _of_key(options) if options.api_key_file else _of_user(options)
    except PlinthError as error:
        raise fault_of(error) from error
    with Profiles.of_user().changing() as stored:
        stored.profiles[options.profile] = profile
        stored.chosen = options.profile
    say(f"logged in as {profile.who}, tenant {profile.tenant_id or 'none'}, in the profile `{options.profile}`")
    return 0


def _of_user(options: argparse.Namespace) -> Profile:
    password = _secret_in(options.password_file) if options.password_file else _asked()
    request = auth_pb2.LogInRequest(email=options.email, password=password, tenant=options.tenant)
    with Target(options.url, "").client() as client:
        session = client.auth.log_in(request)
        challenge = session.second_factor.challenge
        if challenge:
            code = options.code or _asked("Code: ")
            session = client.auth.complete_log_in(auth_pb2.CompleteLogInRequest(challenge=challenge, code=code))
        return Profile(options.url, options.email, "").renewed(session)


def _of_key(options: argparse.Namespace) -> Profile:
    key = _secret_in(options.api_key_file)
    with Target(options.url, key).client() as client:
        caller = client.auth.get_caller(auth_pb2.GetCallerRequest())
    return Profile(options.url, caller.name, caller.tenant_id, api_key=key)


def log_out(options: argparse.Namespace) -> int:
    """End the session at the server, and forget the profile."""
    profiles = Profiles.of_user()
    name = options.profile or profiles.read().chosen
    target = target_of_profile(profiles, name)
    # An API key has no session to end.
    if target.refresh is not None:
        try:
            with target.client() as client:
                client.auth.log_out(auth_pb2.LogOutRequest())
        except PlinthError as error:
            raise fault_of(error) from error
    _forget(profiles, name)
    return 0


def list_profiles(options: argparse.Namespace) -> int:
    """Print the profiles, or change which there are."""
    profiles = Profiles.of_user()
    if options.use:
        with profiles.changing() as stored:
            stored.get(options.use)
            stored.chosen = options.use
        return 0
    if options.remove:
        _forget(profiles, options.remove)
        return 0
    stored = profiles.read()
    shown = [
        {"name": name, "chosen": name == stored.chosen, "url": each.url, "who": each.who, "tenantId": each.tenant_id}
        for name, each in sorted(stored.profiles.items())
    ]
    if options.json:
        print_json(shown, is_compact=True)
    elif not shown:
        say(f"no profiles yet: `plinth login` makes one, and {PROFILE} chooses one for a script")
    else:
        rows = [("*" if each["chosen"] else "", *(str(each[key]) for key in _COLUMNS)) for each in shown]
        print_table(("", "NAME", "URL", "WHO", "TENANT"), rows)
    return 0


def _forget(profiles: Profiles, name: str) -> None:
    with profiles.changing() as stored:
        stored.get(name)
        del stored.profiles[name]
        if stored.chosen == name:
            stored.chosen = next(iter(stored.profiles), DEFAULT)


def _asked(prompt: str = "Password: ") -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError as error:
        raise CommandFault("neither a password nor a code was given where one is needed") from error


def _secret_in(path: str) -> str:
    """The first line of a file, or of standard input."""
    try:
        text = sys.stdin.readline() if path == "-" else Path(path).read_text()
    except OSError as error:
        raise CommandFault(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandFault(f"{path}: is no text") from error
    return text.strip().partition("\n")[0]
