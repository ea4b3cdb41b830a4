"""The secrets of a deployment, from which all its keys are derived: the one that signs, and others that are accepted.

A rotation goes machine by machine. A secret is first accepted ahead everywhere, then signs, then is accepted behind.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Secrets:
    """Secrets in three states. All verify and open; one signs and seals."""

    signing: bytes
    behind: tuple[bytes, ...] = ()
    """The secrets that signed before."""
    ahead: tuple[bytes, ...] = ()
    """The secrets that will sign, and already sign on machines that are further in the rotation."""

    @property
    def accepted(self) -> tuple[bytes, ...]:
        """All secrets, the signing one first."""
        return tuple(dict.fromkeys((self.signing, *self.behind, *self.ahead)))

    @property
    def lasting(self) -> tuple[bytes, ...]:
        """The secrets under which data may stay. Data under another secret are sealed again under the signing one."""
        return tuple(dict.fromkeys((self.signing, *self.ahead)))
