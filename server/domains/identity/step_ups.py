"""What proves again who a caller is: the password, a code, or a passkey."""

from plinth.identity.v1.auth_pb2 import StepUpRequest

from server.domains.identity.passkey_ceremonies import WrongPasskey
from server.domains.identity.passkeys import PasskeyProofs, wrong_passkey
from server.domains.identity.password_check import PasswordCheck
from server.domains.identity.second_factor_codes import SecondFactorCodes
from server.kernel.call import Call
from server.kernel.problems import Problem, Violation, broken_rules


class StepUpProofs:
    """Takes the proof of a StepUp."""

    def __init__(self, check: PasswordCheck, codes: SecondFactorCodes, passkeys: PasskeyProofs) -> None:
        self._check = check
        self._codes = codes
        self._passkeys = passkeys

    def take(self, call: Call, request: StepUpRequest) -> Problem | None:
        """Take the proof. Returns the problem of a wrong code, which the call has to commit. Raises any other."""
        user_id, kind = call.caller.user_id, request.WhichOneof("proof")
        if kind == "code":
            wrong = broken_rules([Violation("code", "is wrong, or was used", "code.wrong")])
            return self._codes.use(call, user_id, request.code, wrong)
        if kind == "password":
            if self._codes.are_needed(call, user_id):
                raise broken_rules([Violation("password", "does not do: send a code, or a passkey", "code.needed")])
            self._check.demand(call, "password", request.password)
            return None
        try:
            is_own = self._passkeys.user_of(call, request.passkey) == user_id
        except WrongPasskey as error:
            raise wrong_passkey("passkey") from error
        if not is_own:
            raise wrong_passkey("passkey")
        return None
