"""Profiles: where a person is logged in, in a file that nobody else may read.

A refresh token can be used once. The command that renews a session therefore locks the file, reads it again, and writes
the new tokens before it releases the lock.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from plinth.client.command.faults import CommandFault
from plinth.identity.v1.auth_pb2 import Session

DEFAULT = "default"


@dataclass(frozen=True)
class Profile:
    """A login, or an API key."""

    url: str
    who: str
    """The mail address, or the name of the API key."""
    tenant_id: str
    api_key: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)

    def renewed(self, session: Session) -> "Profile":
        """The profile with the tokens of a session."""
        return replace(
            self,
            access_token=session.access_token,
            refresh_token=session.refresh_token,
            tenant_id=session.tenant_id,
        )

    def session(self, lifetime: float) -> Session:
        """The session with these tokens. `lifetime` is the rest of the access token's, in seconds."""
        return Session(
            access_token=self.access_token,
            refresh_token=self.refresh_token,
            expires_in=int(lifetime),
            tenant_id=self.tenant_id,
        )


@dataclass
class Stored:
    """What the file has."""

    chosen: str = DEFAULT
    """The profile of commands that name none."""
    profiles: dict[str, Profile] = field(default_factory=dict)

    def get(self, name: str) -> Profile:
        """The profile of a name. Raises CommandFault if it does not exist."""
        if name not in self.profiles:
            known = ", ".join(sorted(self.profiles))
            hint = f"; there are: {known}" if known else ""
            raise CommandFault(f"there is no profile `{name}`: log in with `plinth login`{hint}")
        return self.profiles[name]


class Profiles:
    """The file of profiles."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "profiles.json"

    @classmethod
    def of_user(cls) -> "Profiles":
        """Those of who runs the command: below XDG_CONFIG_HOME, or ~/.config."""
        return cls(Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "plinth")

    def read(self) -> Stored:
        """What is stored. Raises CommandFault for a file that cannot be read."""
        try:
            content = json.loads(self._file.read_text())
            return Stored(content["chosen"], {name: Profile(**each) for name, each in content["profiles"].items()})
        except FileNotFoundError:
            return Stored()
        except OSError as error:
            raise CommandFault(f"{self._file}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CommandFault(f"{self._file} is no file of profiles: remove it, and log in again") from error

    @contextmanager
    def changing(self) -> Iterator[Stored]:
        """What is stored, to be changed while no other command does. It is written if the block ends well."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self._folder / "lock").open("w")
        except OSError as error:
            raise CommandFault(f"{self._folder}: {error.strerror}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            stored = self.read()
            yield stored
            self._write(stored)

    def _write(self, stored: Stored) -> None:
        content = {"chosen": stored.chosen, "profiles": {name: asdict(each) for name, each in stored.profiles.items()}}
        # With the mode 0600, and whole or not at all.
        handle, path = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(handle)
            Path(path).replace(self._file)
        except OSError as error:
            Path(path).unlink(missing_ok=True)
            raise CommandFault(f"{self._file}: {error.strerror}") from error
