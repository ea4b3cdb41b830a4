"""The password of somebody who is signed in, asked for again."""

from server.domains.identity.passwords import Passwords
from server.domains.identity.sign_in_guard import SignInGuard
from server.domains.identity.user_rows import BY_ID, WHO_SIGNS_IN
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules


class PasswordCheck:
    """Checks the password of a caller. A wrong one counts as a failed sign-in."""

    def __init__(self, passwords: Passwords, guard: SignInGuard) -> None:
        self._passwords = passwords
        self._guard = guard

    def demand(self, call: Call, field: str, password: str) -> None:
        """Raise RuleViolated for a wrong password, and RateLimited after too many."""
        user_id = call.caller.user_id
        email = call.writes.run(BY_ID, user_id=user_id).one()["email"]
        row = call.writes.run(WHO_SIGNS_IN, address=email, network=call.client_network).first()
        attempt = self._guard.admit(call, email, row)
        if self._passwords.sign_in(row["password_hash"] if row else None, password) is None:
            self._guard.failed(attempt, password)
            raise broken_rules([Violation(field, "is not your password", "password.wrong")])
        self._guard.succeeded(call, attempt, user_id)
