"""Passwords: argon2id with OWASP's parameters; verifying takes the same time whether or not there is a user."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane. More memory would let few sign-ins starve the rest.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_SIGNS_AROUND = "!@#$%^&*()-_=+[]{};:'\",.<>/?\\|`~ "


def hash_password(password: str) -> str:
    """The hash to store."""
    return _hasher.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether the password is the one. Without a stored hash, spends the same time and says no."""
    try:
        return _hasher.verify(stored or _nobodys_hash(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def needs_rehash(stored: str) -> bool:
    """Whether a hash was made with weaker parameters than today's."""
    return _hasher.check_needs_rehash(stored)


def is_common(password: str) -> bool:
    """Whether a password, without signs around it, is in the list of the 30,000 most common ones."""
    lowered = password.lower()
    return not _common().isdisjoint({lowered, lowered.strip(_SIGNS_AROUND), _plain(lowered).strip(_SIGNS_AROUND)})


@cache
def _nobodys_hash() -> str:
    return _hasher.hash("nobody has this password")


@cache
def _common() -> frozenset[str]:
    # Imported by whoever checks the first password: the lists take 12 MB.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415

    return frozenset(FREQUENCY_LISTS["passwords"])


def _plain(password: str) -> str:
    """Without the usual stand-ins for letters: `p@ssw0rd` is `password`."""
    return password.translate(str.maketrans("@$01345", "asoieas"))
