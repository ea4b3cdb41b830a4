"""The commands `plinth backup` and `plinth restore`."""

import argparse
import getpass
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from server.backup import manifest as files
from server.backup import restoring, taking, verifying
from server.backup.manifest import Manifest
from server.backup.outcomes import DONE, FOUND, status_of
from server.backup.sealed_secret import SHORTEST_PASSPHRASE
from server.embedded import postgres
from server.embedded.alone import is_running, with_postgres
from server.embedded.faults import StopAsked
from server.faults import Fault
from server.settings import Settings

INTERRUPTED = 130


def backup(options: argparse.Namespace, settings: Settings) -> int:
    """Take a backup, or verify one. Returns the exit status."""
    return _ended(partial(_verify if options.verify else _take, options, settings))


def restore(options: argparse.Namespace, settings: Settings) -> int:
    """Restore a backup. Returns the exit status."""
    return _ended(partial(_restore, options, settings))


def _ended(work: Callable[[], int]) -> int:
    try:
        return work()
    except StopAsked:
        return INTERRUPTED
    except Fault as fault:
        sys.stderr.write(f"plinth: {fault}\n")
        return status_of(fault)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _ended(partial(_fail, f"{place}{error.strerror or error}"))


def _fail(text: str) -> int:
    raise Fault(text)


def _take(options: argparse.Namespace, settings: Settings) -> int:
    passphrase = None if options.without_secret else _passphrase(options, settings, is_new=True)
    if passphrase is None:
        _say("the secret key is left out by choice: without it, keys, tokens and sealed values of this backup are lost")
    lines: list[str] = []
    take = partial(taking.take, settings, options.to, passphrase=passphrase, keep=options.keep, tell=lines.append)
    is_embedded = settings.database_url is None and settings.database_backup_url is None
    if is_embedded and not is_running(settings):
        if postgres.is_new(settings):
            raise Fault(f"{postgres.data_folder(settings)} holds no database")
        # Read and cached here, before the work runs in another process.
        _ = settings.secret
        lines = with_postgres(settings, "backup", partial(_told, take, lines))
    else:
        take()
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return DONE


def _told(take: Callable[[], Path], lines: list[str]) -> list[str]:
    take()
    return lines


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    folder: Path = options.verify
    manifest = Manifest.read(folder)
    passphrase = None
    if manifest.secret == files.ENCRYPTED:
        passphrase = _passphrase(options, settings, is_new=False, is_needed=False)
        if passphrase is None:
            _say("the secret is not opened: no passphrase was given")
    found = verifying.findings(settings, folder, passphrase)
    sys.stdout.writelines(f"{line}\n" for line in found)
    if found:
        return FOUND
    sys.stdout.write(
        f"{folder} is right: {sum(manifest.tables.values())} rows of {len(manifest.tables)} tables, "
        f"{manifest.audit_checkpoints} audit checkpoints, secret {manifest.secret}, files {manifest.files}\n"
    )
    return DONE


def _restore(options: argparse.Namespace, settings: Settings) -> int:
    manifest = Manifest.read(options.backup)
    passphrase = None
    if manifest.secret == files.ENCRYPTED and not options.without_secret:
        passphrase = _passphrase(options, settings, is_new=False)
    wish = restoring.Wish(replace=options.replace, passphrase=passphrase, secret_to=options.secret_to)
    restoring.restore(settings, options.backup, wish, lambda line: sys.stdout.write(f"{line}\n"))
    return DONE


def _passphrase(options: argparse.Namespace, settings: Settings, *, is_new: bool, is_needed: bool = True) -> str | None:
    """The passphrase from the named file, the setting, or a prompt; never from an argument, which others may read.

    None if there is none and none is needed. Raises Fault.
    """
    if options.passphrase_file is not None:
        given = str(options.passphrase_file.read_text(encoding="utf-8")).strip()
    elif settings.backup_passphrase is not None:
        given = settings.backup_passphrase.get_secret_value()
    elif sys.stdin.isatty():
        given = getpass.getpass("Passphrase of the backup: ")
        if is_new and getpass.getpass("Once more: ") != given:
            raise Fault("the two passphrases differ")
    elif is_needed:
        raise Fault(
            "a passphrase is needed for the secret key: set PLINTH_BACKUP_PASSPHRASE or name a file with "
            "--passphrase-file; --without-secret leaves the secret key out"
        )
    else:
        return None
    if is_new and len(given) < SHORTEST_PASSPHRASE:
        raise Fault(f"the passphrase has fewer than {SHORTEST_PASSPHRASE} characters")
    return given


def _say(text: str) -> None:
    sys.stderr.write(f"plinth: {text}\n")
