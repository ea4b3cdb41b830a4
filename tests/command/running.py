"""The real command as a program of a person with a folder of their own."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from server.kernel.clock import utc_now
from server.kernel.guard.tokens import AccessTokens
from tests.clients import Tenant

PLINTH = (sys.executable, "-m", "server")
PATIENCE = 60


@dataclass(frozen=True)
class Person:
    """Who has logins in a folder, and runs commands."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the tests' own."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder / "config")}

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a command."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        environment = self.environment | streams.pop("env", {})
        # What a shell starts in the background ignores SIGINT, and so would the command. A signal that is handled here
        # has its default there.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen([*PLINTH, *arguments], cwd=self.folder, env=environment, text=True, **streams)
        finally:
            signal.signal(signal.SIGINT, before)

    def run(self, *arguments: str, given: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [*PLINTH, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def answer(self, *arguments: str, given: str = "") -> Any:
        """The JSON that a command prints."""
        done = self.run(*arguments, given=given)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def fault(self, *arguments: str, given: str = "", **environment: str) -> tuple[int, str]:
        """The status and the words of a command that fails."""
        done = self.run(*arguments, given=given, **environment)
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        return done.returncode, done.stderr

    def log_in(self, tenant: Tenant, *options: str) -> None:
        """Log in as the owner of a tenant."""
        owner = tenant.owner
        who = ("--url", tenant.stack.url, "--email", owner.email, "--tenant", tenant.subdomain)
        done = self.run("login", *who, "--password-file", "-", *options, given=f"{owner.password}\n")
        assert done.returncode == 0, done.stderr

    @property
    def stored(self) -> dict[str, Any]:
        """What is kept of their logins."""
        content: dict[str, Any] = json.loads((self.folder / "config" / "plinth" / "profiles.json").read_text())
        return content

    def shorten(self, tenant: Tenant, lifetime: int, *, age: int = 0) -> None:
        """Replace the access token by one of the same session with this `lifetime`, issued `age` seconds ago."""
        settings, content = tenant.stack.settings, self.stored
        issuer, moment = settings.token_issuer, utc_now() - timedelta(seconds=age)
        now = AccessTokens(settings.secrets, issuer=issuer, lifetime=lifetime)
        then = AccessTokens(settings.secrets, issuer=issuer, lifetime=lifetime, clock=lambda: moment)
        profile = content["profiles"]["default"]
        profile["access_token"] = then.issue(now.verify(profile["access_token"]))
        (self.folder / "config" / "plinth" / "profiles.json").write_text(json.dumps(content))
