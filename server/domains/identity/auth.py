"""Sign-up, sign-in and sessions."""

from math import isfinite
from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from plinth.identity.v1 import auth_pb2
from plinth.identity.v1.auth_pb2 import (
    Caller,
    CsrfToken,
    CurrentUser,
    JsonWebKey,
    ListJsonWebKeysResponse,
    Session,
    SignUpResponse,
)
from plinth.identity.v1.user_pb2 import User
from sqlalchemy import bindparam, select

from server.data.statements import Row, Statement
from server.data.transactions import Scope
from server.domains.identity.accounts import told
from server.domains.identity.half_sign_ins import HalfSignIns, note_half
from server.domains.identity.letters import Kind, send_letter
from server.domains.identity.passwords import Passwords, refuse_common
from server.domains.identity.second_factor_codes import SecondFactorCodes
from server.domains.identity.sessions import Sessions
from server.domains.identity.sign_in_challenges import SignInChallenges, wrong_challenge
from server.domains.identity.sign_in_guard import SignInGuard
from server.domains.identity.sign_ins import PLATFORM_ROLE, SignIns
from server.domains.identity.sign_ups import SignUps
from server.domains.identity.step_ups import StepUpProofs
from server.domains.identity.tables import api_keys
from server.domains.identity.user_rows import ADD_USER, BY_EMAIL, BY_ID, WHO_SIGNS_IN, shown_user
from server.kernel.call import Call, Principal
from server.kernel.cookies import CSRF_COOKIE, BrowserCookies, cookies_of
from server.kernel.guard import AccessTokens
from server.kernel.ids import new_id
from server.kernel.mail_addresses import known_form, normal_address
from server.kernel.ports import Memberships
from server.kernel.problems import (
    RateLimited,
    Reason,
    Unauthenticated,
    not_found,
)
from server.kernel.resources import EventFacts, Service

TENANT = "plinth.dev/Tenant"
REFRESH_COOKIE = "plinth_refresh"
"""As the contract names it (`cookie`)."""
_key, _in_tenant = (bindparam(name, type_=api_keys.c.id.type) for name in ("api_key_id", "tenant_id"))
KEY_NAME = Statement(select(api_keys.c.name).where(api_keys.c.tenant_id == _in_tenant, api_keys.c.id == _key))


class AuthService(Service):
    """Sign-up, sign-in and sessions."""

    descriptor = auth_pb2.DESCRIPTOR.services_by_name["AuthService"]
    events: ClassVar = {
        "user.signed_up": EventFacts(User),
        "user.sign_up_repeated": EventFacts(User, "Somebody signed up with an address that has an account already."),
        "session.ended": EventFacts(User),
        "session.refresh_token_reused": EventFacts(
            User, "A refresh token was used again after its successor; its session has ended."
        ),
        "user.recovery_code_used": EventFacts(User, "A recovery code has signed in in place of the authenticator app."),
        "user.second_factor_locked": EventFacts(User, "Who sends wrong codes of a second factor knows the password."),
    }

    def __init__(
        self,
        tokens: AccessTokens,
        sessions: Sessions,
        memberships: Memberships,
        passwords: Passwords,
        *,
        guard: SignInGuard,
        sign_ins: SignIns,
        challenges: SignInChallenges,
        codes: SecondFactorCodes,
        proofs: StepUpProofs,
        sign_ups: SignUps,
        cookies: BrowserCookies,
    ) -> None:
        super().__init__()
        self._tokens = tokens
        self._sessions = sessions
        self._memberships = memberships
        self._passwords = passwords
        self._guard = guard
        self._sign_ins = sign_ins
        self._challenges = challenges
        self._codes = codes
        self._proofs = proofs
        self._half = HalfSignIns(challenges)
        self._sign_ups = sign_ups
        self._cookies = cookies

    def sign_up(self, call: Call, request: auth_pb2.SignUpRequest) -> SignUpResponse:
        """Create a user. A known address gets the same answer, so that addresses cannot be probed."""
        email = normal_address(request.email, "email")
        refuse_common("password", request.password)
        # Hashing takes about 40 ms, so it comes before the transaction.
        hashed = self._passwords.hash(request.password)
        tenant = self._sign_ups.tenant(call, request.tenant)
        user = User(
            id=new_id(),
            email=email,
            first_name=request.first_name,
            last_name=request.last_name,
            state=User.STATE_ACTIVE,
        )
        # Looked up for everybody, so that it takes as long for an unknown address.
        known = call.writes.run(BY_EMAIL, address=email).first()
        added = call.writes.run(
            ADD_USER,
            id=user.id,
            email=email,
            password_hash=hashed,
            first_name=user.first_name,
            last_name=user.last_name,
        )
        is_new = self._sign_ups.welcome(call, user, added, tenant)
        if is_new:
            send_letter(call, user.id, Kind.VERIFICATION)
        else:
            send_letter(call, known["id"] if known else user.id, Kind.SIGN_UP_REPEATED)
        return SignUpResponse(user=user)

    def log_in(self, call: Call, request: auth_pb2.LogInRequest) -> Session:
        """Exchange an address and a password for tokens."""
        email = known_form(request.email)
        row = call.writes.run(WHO_SIGNS_IN, address=email, network=call.client_network).first()
        try:
            attempt = self._guard.admit(call, email, row)
        except RateLimited:
            # The tenants of the account's owner see this refusal too.
            self._sign_ins.wrong_credentials(call, row)
            raise
        hashed = self._passwords.sign_in(row["password_hash"] if row else None, request.password)
        if hashed is None or row is None:
            self._guard.failed(attempt, request.password)
            raise self._sign_ins.wrong_credentials(call, row)
        if row["has_second_factor"]:
            self._guard.spare(attempt)
            row = self._sign_ins.keep_hash(call, row, hashed)
            return self._half.challenged(call, row, self._sign_ins.place(call, row, request.tenant))
        place = self._sign_ins.place(call, row, request.tenant)
        session = self._sign_ins.open(call, row, place, hashed)
        self._guard.succeeded(call, attempt, row["id"])
        return session

    def complete_log_in(self, call: Call, request: auth_pb2.CompleteLogInRequest) -> Session:
        """Exchange the challenge of a sign-in and a code for tokens."""
        challenge = self._challenges.read(request.challenge)
        user_id, tenant_id = challenge.user_id, challenge.tenant_id
        row = call.writes.run(BY_ID, user_id=user_id).first()
        if row is None or not self._challenges.is_of(challenge, row["password_hash"]):
            raise wrong_challenge()
        problem = self._codes.use(call, user_id, request.code, Unauthenticated("The code is wrong, or was used."))
        call.writes.bind(Scope(user_id=user_id))
        place = self._memberships.of_user_in(call.writes, user_id, tenant_id) if tenant_id else None
        if problem is not None:
            # The failure counts, and the tenant sees it.
            note_half(call, user_id, place, "session.second_factor_refused")
            call.refuse_after_commit(problem)
            return Session()
        session = self._sign_ins.open(call, row, place)
        self._guard.remember(call, user_id)
        return session

    def step_up(self, call: Call, request: auth_pb2.StepUpRequest) -> Session:
        """Prove again who the caller is, and exchange the session's tokens."""
        held = self._sessions.lock(call.writes, call.caller.session_id)
        problem = self._proofs.take(call, request)
        if problem is not None:
            told(call)
            call.refuse_after_commit(problem)
            return Session()
        held["auth_time"] = self._sessions.prove(call, held)
        return self._renewed(call, held, held["current_tenant_id"])

    def refresh_token(self, call: Call, request: auth_pb2.RefreshTokenRequest) -> Session:
        """Exchange a refresh token for new tokens. A copied token ends its session."""
        session_id, counter = self._sessions.read(request.refresh_token)
        held = self._sessions.lock(call.writes, session_id)
        if self._sessions.is_reuse(held, counter):
            self._sessions.end(call, session_id, "refresh token reused")
            return self._refuse_reuse(call, held)
        return self._renewed(call, held, held["current_tenant_id"], counter)

    def get_csrf_token(self, call: Call, request: auth_pb2.GetCsrfTokenRequest) -> CsrfToken:
        """The token that calls with cookies bring."""
        del request
        token = self._cookies.csrf_token(call.metadata)
        call.headers.append(("cache-control", "no-store"))
        call.headers.append(self._cookies.keep(CSRF_COOKIE, token))
        return CsrfToken(csrf_token=token)

    def switch_tenant(self, call: Call, request: auth_pb2.SwitchTenantRequest) -> Session:
        """Exchange the session's tenant for another one in which the caller is a member."""
        held = self._sessions.lock(call.writes, call.caller.session_id)
        session = self._renewed(call, held, request.tenant_id)
        if session.tenant_id != request.tenant_id:
            raise not_found(TENANT, request.tenant_id)
        return session

    def log_out(self, call: Call, request: auth_pb2.LogOutRequest) -> Empty:
        """End the caller's session."""
        del request
        self._sessions.end(call, call.caller.session_id, "logged out")
        if REFRESH_COOKIE in cookies_of(call.metadata):
            call.headers.append(self._cookies.drop(REFRESH_COOKIE))
        call.event_payload = User(id=call.caller.user_id)
        call.tenant_id = call.caller.tenant_id
        call.writes.bind(Scope(tenant_id=call.tenant_id, user_id=call.caller.user_id))
        return Empty()

    def get_current_user(self, call: Call, request: auth_pb2.GetCurrentUserRequest) -> CurrentUser:
        """The caller, with memberships and roles."""
        del request
        caller = call.caller
        row = call.reads.run(BY_ID, user_id=caller.user_id).first()
        if row is None:
            raise Unauthenticated("The user is gone.", reason=Reason.REASON_SESSION_ENDED)
        places = self._memberships.of_user(call.reads, caller.user_id)
        roles: list[str] = next((place["roles"] for place in places if place["tenant_id"] == caller.tenant_id), [])
        return CurrentUser(
            user=shown_user(row),
            tenant_id=caller.tenant_id or "",
            roles=[*roles, PLATFORM_ROLE] if caller.is_platform else roles,
            memberships=[_membership(place) for place in places],
        )

    def get_caller(self, call: Call, request: auth_pb2.GetCallerRequest) -> Caller:
        """The caller, user or API key, with the permissions of now."""
        del request
        caller, access = call.caller, call.access
        found = Caller(
            user_id=caller.user_id,
            api_key_id=caller.api_key_id,
            name=_name_of(call, caller),
            tenant_id=call.tenant_id or "",
            roles=access.roles if access else (),
            permissions=sorted(access.permissions) if access else (),
            is_platform_admin=caller.is_platform,
        )
        if isfinite(caller.expires_at):
            found.expire_time.FromSeconds(int(caller.expires_at))
        return found

    def list_json_web_keys(self, call: Call, request: auth_pb2.ListJsonWebKeysRequest) -> ListJsonWebKeysResponse:
        """The public keys that verify access tokens."""
        del request
        call.headers.append(("cache-control", "public, max-age=300"))
        keys = [
            JsonWebKey(kty="OKP", crv="Ed25519", x=key.x, kid=key.key_id, use="sig", alg="EdDSA")
            for key in self._tokens.keys
        ]
        return ListJsonWebKeysResponse(keys=keys)

    def _renewed(self, call: Call, held: Row, tenant_id: str | None, counter: int | None = None) -> Session:
        """New tokens for a session, with current roles; without a tenant if the user is not a member of it.

        `counter` is that of the refresh token used, if any. Only then does the token get a successor.
        """
        call.writes.bind(Scope(user_id=held["user_id"]))
        row = call.writes.run(BY_ID, user_id=held["user_id"]).first()
        if row is None:
            raise Unauthenticated("The user is gone.", reason=Reason.REASON_SESSION_ENDED)
        place = self._memberships.of_user_in(call.writes, row["id"], tenant_id) if tenant_id else None
        reached = place["tenant_id"] if place else None
        if counter is None:
            token, expires = self._sessions.move(call.writes, held, reached)
        else:
            token, expires = self._sessions.rotate(call.writes, held, counter, reached)
        return self._sign_ins.shown(call, row, held["id"], place, tokens=(token, expires, held["auth_time"]))

    def _refuse_reuse(self, call: Call, held: Row) -> Session:
        """Record the event and the audit entry in the tenant of the session, if its user is still a member there."""
        user_id, tenant_id = held["user_id"], held["current_tenant_id"]
        call.writes.bind(Scope(user_id=user_id))
        place = self._memberships.of_user_in(call.writes, user_id, tenant_id) if tenant_id else None
        call.tenant_id = place["tenant_id"] if place else None
        call.writes.bind(Scope(tenant_id=call.tenant_id, user_id=user_id))
        call.note_actor(user_id, held["id"])
        call.action = "session.refresh_token_reused"
        call.emit("session.refresh_token_reused", held["user_id"], User(id=held["user_id"]))
        send_letter(call, held["user_id"], Kind.TOKEN_REUSED)
        call.refuse_after_commit(
            Unauthenticated(
                "This refresh token was used before; its session has ended. Log in again.",
                reason=Reason.REASON_REFRESH_TOKEN_REUSED,
            )
        )
        return Session()


def _name_of(call: Call, caller: Principal) -> str:
    """The name of an API key, or the mail address of a user; empty if the caller has gone this moment."""
    if caller.api_key_id:
        row = call.reads.run(KEY_NAME, tenant_id=caller.tenant_id, api_key_id=caller.api_key_id).first()
    else:
        row = call.reads.run(BY_ID, user_id=caller.user_id).first()
    return str(row["name" if caller.api_key_id else "email"]) if row else ""


def _membership(place: Row) -> auth_pb2.Membership:
    return auth_pb2.Membership(
        tenant_id=place["tenant_id"],
        subdomain=place["subdomain"],
        tenant_name=place["name"],
        roles=place["roles"],
    )
