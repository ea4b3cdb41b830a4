"""What a process does to itself before it becomes a child of `plinth up`.

As a script (`python -I -S launch.py ...`) it launches programs: it binds its life to that of the supervisor, drops
privileges if asked, and executes the program in its place. It imports only the standard library, so that it starts in a
few hundredths of a second and needs no site-packages.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

ON_LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_SET_NAME = 15
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def die_with(parent: int, death_signal: int) -> None:
    """Get a signal when the parent dies for whatever reason. A SIGKILL of the supervisor then leaves nothing running.

    The kernel resets this when a process changes its user, so it must come after `become`. Only Linux has this signal.
    """
    if not ON_LINUX:
        return
    _prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        # The parent died before the kernel was told.
        os._exit(1)


def rename(name: str) -> None:
    """Set the name shown in `ps` and `top`, where the system allows it."""
    if ON_LINUX:
        _libc().prctl(PR_SET_NAME, ctypes.create_string_buffer(name.encode()[:15]), 0, 0, 0)


def become(uid: int, gid: int, *, search: bool) -> None:
    """Switch to another user permanently.

    With `search`, keep CAP_DAC_OVERRIDE, and nothing else, across the execution of a program: below a closed folder
    such as /root, the user could otherwise not reach even its own files. PostgreSQL checks its programs with access(2),
    which considers the user but not capabilities; the secure bit turns that off.
    """
    if search:
        _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if search:
        _keep_dac_override()


def _keep_dac_override() -> None:
    mask = 1 << CAP_DAC_OVERRIDE
    sets = (_Capabilities * 2)(_Capabilities(mask, mask, mask), _Capabilities(0, 0, 0))
    if _libc().capset(ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), ctypes.byref(sets)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc().prctl(option, *padded) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Parse `PARENT DEATH_SIGNAL UID:GID:SEARCH|- FOLDER PROGRAM [ARGUMENT ...]` and become the program."""
    parent, death_signal, identity, folder, *argv = arguments
    os.umask(0o077)
    os.chdir(folder)
    if identity != "-":
        uid, gid, search = map(int, identity.split(":"))
        become(uid, gid, search=bool(search))
    die_with(int(parent), signal.Signals(int(death_signal)))
    try:
        os.execv(argv[0], argv)  # noqa: S606 - a list of arguments and no shell
    except OSError as error:
        sys.exit(f"{Path(argv[0]).name} cannot be executed: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
