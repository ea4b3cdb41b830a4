"""The arguments of `plinth backup` and `plinth restore`. Every command imports this, so it has almost no imports."""

import argparse
from pathlib import Path

from server.backup.outcomes import HELP


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `plinth backup`."""
    parser.epilog = HELP
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", type=Path, metavar="FOLDER", help="folder of backups; each is a folder of its own in it")
    what.add_argument(
        "--verify", type=Path, metavar="BACKUP", help="restore this one into a scratch database, and compare"
    )
    parser.add_argument(
        "--keep",
        type=_at_least_one,
        metavar="N",
        help="remove the oldest backups in the folder beyond N, after success",
    )
    _add_secret_arguments(parser, "leave the secret key out")


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `plinth restore`."""
    parser.epilog = HELP
    parser.add_argument("backup", type=Path, metavar="BACKUP", help="folder of one backup")
    parser.add_argument(
        "--replace", action="store_true", help="replace a database that is not empty, and the secret in the data folder"
    )
    parser.add_argument(
        "--secret-to", type=Path, metavar="FILE", help="write the secret key to a new file, as settings"
    )
    _add_secret_arguments(parser, "leave the deployment's own secret key")


def _add_secret_arguments(parser: argparse.ArgumentParser, without: str) -> None:
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="file with the passphrase (or PLINTH_BACKUP_PASSPHRASE)"
    )
    parser.add_argument("--without-secret", action="store_true", help=without)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
