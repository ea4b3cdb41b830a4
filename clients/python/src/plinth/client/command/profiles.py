"""Profiles: where a person is logged in, in a file that nobody else may read.

A refresh token is good for one use, so whoever renews a profile holds a lock over the file, reads it again under the
lock, and writes what it got before it lets go.
"""

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from plinth.client.command.faults import CommandFault

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
    expires_at: float = 0.0
    """Unix time at which the access token expires."""

    def is_good_for(self, seconds: float) -> bool:
        """Whether its access token lives so long, by this machine's clock."""
        return time.time() + seconds < self.expires_at

    @property
    def secret(self) -> str:
        """What is sent."""
        return self.api_key or self.access_token


@dataclass
class Stored:
    """What the file has."""

    chosen: str = DEFAULT
    """The profile of commands that name none."""
    profiles: dict[str, Profile] = field(default_factory=dict)


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

    def get(self, name: str) -> tuple[str, Profile]:
        """A profile, by default the chosen one, with its name. Raises CommandFault if there is none."""
        stored = self.read()
        wanted = name or stored.chosen
        if wanted not in stored.profiles:
            known = ", ".join(sorted(stored.profiles))
            hint = f"; there are: {known}" if known else ""
            raise CommandFault(f"there is no profile `{wanted}`: log in with `plinth login`{hint}")
        return wanted, stored.profiles[wanted]

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
