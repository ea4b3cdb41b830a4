"""The user of the embedded engines.

PostgreSQL refuses to run as root. If root starts the stack, the engines run as the user that already owns their data,
or as `nobody`. Otherwise they run as the user who starts it.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from server.embedded.faults import Fault

NOBODY = 65534


@dataclass(frozen=True)
class Identity:
    """A user to switch to, and whether it must be able to pass folders that are closed to it."""

    uid: int
    gid: int
    search: bool

    @property
    def argument(self) -> str:
        """The form that launch.py reads."""
        return f"{self.uid}:{self.gid}:{int(self.search)}"


def engine_identity(data: Path, *reached: Path) -> Identity | None:
    """The user of an engine with this data folder and these paths to reach; None for the current user."""
    if os.geteuid() != 0:
        return None
    uid, gid = _owner(data)
    return Identity(uid, gid, search=not all(_searchable(path, uid, gid) for path in (data, *reached)))


def own(folder: Path, identity: Identity | None) -> None:
    """Create a folder that only the user can enter, or verify that an existing one is such a folder.

    A socket folder may be in the temporary folder, where any user could have created one of that name first.
    """
    uid, gid = (identity.uid, identity.gid) if identity else (os.geteuid(), os.getegid())
    try:
        folder.mkdir(mode=0o700, parents=True)
        os.chown(folder, uid, gid)
    except FileExistsError:
        _adopt(folder, uid, gid)


def _adopt(folder: Path, uid: int, gid: int) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {uid, os.geteuid()}:
        raise Fault(f"{folder} belongs to {_name(found.st_uid)}, not to {_name(uid)}; remove it or set PLINTH_DATA_DIR")
    folder.chmod(0o700)
    if found.st_uid != uid:
        os.chown(folder, uid, gid)


def _owner(data: Path) -> tuple[int, int]:
    if data.exists() and data.stat().st_uid != 0:
        return data.stat().st_uid, data.stat().st_gid
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return NOBODY, NOBODY
    return nobody.pw_uid, nobody.pw_gid


def _searchable(path: Path, uid: int, gid: int) -> bool:
    return all(_passes(parent, uid, gid) for parent in path.resolve().parents if parent.exists())


def _passes(folder: Path, uid: int, gid: int) -> bool:
    found = folder.stat()
    if found.st_uid == uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
