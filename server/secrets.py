"""The secrets of a deployment, from which all its keys are derived: the one that signs, and those it accepts besides.

A rotation goes machine by machine. A secret is first accepted ahead everywhere, then signs, then is accepted behind.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Secrets:
    """Three states of a secret. All verify and open; one signs and seals."""

    signing: bytes
    behind: tuple[bytes, ...] = ()
    """Those that signed before."""
    ahead: tuple[bytes, ...] = ()
    """Those that will sign, and sign already on machines that are further in the rotation."""

    @property
    def accepted(self) -> tuple[bytes, ...]:
        """All of them, the signing one first."""
        return tuple(dict.fromkeys((self.signing, *self.behind, *self.ahead)))

    @property
    def lasting(self) -> tuple[bytes, ...]:
        """Those under which things may stay. What is under any other is brought under the signing one."""
        return tuple(dict.fromkeys((self.signing, *self.ahead)))
