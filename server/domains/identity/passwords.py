"""Passwords: argon2id with OWASP's parameters. Verification takes the same time whether or not the user exists.

A password is normalised before it is hashed and compared, as in RFC 8265, because keyboards compose characters
differently. The form is NFKC, which also maps wide letters and unusual spaces to the plain ones. For hashes of
passwords that were not normalised, the password is tried as sent, and the hash is replaced if it matches.
"""

from functools import cache, cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from server.kernel.messages import normal_form
from server.kernel.problems import Violation, broken_rules

_SIGNS_AROUND = "!@#$%^&*()-_=+[]{};:'\",.<>/?\\|`~ "


class Passwords:
    """The hashing of passwords. The settings define how much memory a guess costs."""

    def __init__(self, memory: int) -> None:
        """`memory` is in KiB. OWASP's Password Storage Cheat Sheet: at least 19 MiB with 2 passes in 1 lane."""
        self._hasher = PasswordHasher(time_cost=2, memory_cost=memory, parallelism=1)

    def hash(self, password: str) -> str:
        """The hash to store."""
        return self._hasher.hash(prepared(password))

    def sign_in(self, stored: str | None, password: str) -> str | None:
        """The hash to store from now on if the password is correct; None if it is wrong or nothing is stored.

        The number of hashes computed for a wrong password depends on the password alone. The time taken therefore
        reveals neither whether the user exists nor how the password was hashed.
        """
        form = prepared(password)
        if self._is(stored, form):
            return self.hash(password) if self._hasher.check_needs_rehash(stored or "") else stored
        if form != password and self._is(stored, password):
            return self.hash(password)
        return None

    def _is(self, stored: str | None, form: str) -> bool:
        """Whether this form was hashed. Without a stored hash it takes the same time and returns False.

        Users who sign in otherwise have an empty one.
        """
        try:
            return self._hasher.verify(stored or self._nobodys_hash, form) and bool(stored)
        except (VerificationError, InvalidHashError):
            return False

    @cached_property
    def _nobodys_hash(self) -> str:
        return self._hasher.hash("nobody has this password")


def prepared(password: str) -> str:
    """The form of a password that is hashed and compared."""
    return normal_form(password, "NFKC")


def refuse_common(field: str, password: str) -> None:
    """Raise RuleViolated, which names the field, for a password that is among the most common ones."""
    if is_common(password):
        raise broken_rules([Violation(field, "is one of the most common passwords", "password.common")])


def is_common(password: str) -> bool:
    """Whether a password, without the signs around it, is among the 30,000 most common ones."""
    lowered = password.lower()
    return not _common().isdisjoint({lowered, lowered.strip(_SIGNS_AROUND), _plain(lowered).strip(_SIGNS_AROUND)})


@cache
def _common() -> frozenset[str]:
    # Imported at the first check: the lists take 12 MB.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415

    return frozenset(FREQUENCY_LISTS["passwords"])


def _plain(password: str) -> str:
    """The password without the usual substitutes for letters: `p@ssw0rd` becomes `password`."""
    return password.translate(str.maketrans("@$01345", "asoieas"))
