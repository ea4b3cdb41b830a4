"""Sign-ins that have shown one factor, where a second one is needed too. Nobody is signed in yet."""

from plinth.identity.v1.auth_pb2 import Session

from server.data.statements import Row
from server.data.transactions import Scope
from server.domains.identity.sign_in_challenges import SignInChallenges
from server.kernel.call import Call


class HalfSignIns:
    """Answers the first half of a sign-in."""

    def __init__(self, challenges: SignInChallenges) -> None:
        self._challenges = challenges

    def challenged(self, call: Call, row: Row, place: Row | None) -> Session:
        """The answer that demands a code."""
        challenge, expires = self._challenges.new(row, place["tenant_id"] if place else None)
        session = Session()
        session.second_factor.challenge = challenge
        session.second_factor.expire_time.FromDatetime(expires)
        note_half(call, row["id"], place, "session.second_factor_demanded")
        return session


def note_half(call: Call, user_id: str, place: Row | None, action: str) -> None:
    """Let the audit log of the tenant have a sign-in that only knew the first factor. It is no event."""
    call.emits, call.action = "", action
    call.note_actor(user_id)
    call.tenant_id = place["tenant_id"] if place else None
    call.writes.bind(Scope(tenant_id=call.tenant_id, user_id=user_id))
