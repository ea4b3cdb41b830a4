"""Sign-up, sign-in and sessions."""

from math import isfinite
from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from plinth.identity.v1 import auth_pb2
from plinth.identity.v1.auth_pb2 import (
    Caller,
    CurrentUser,
    JsonWebKey,
    ListJsonWebKeysResponse,
    Session,
    SignUpResponse,
)
from plinth.identity.v1.user_pb2 import User
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from server.data.connections import Result
from server.data.statements import Row, Statement
from server.data.transactions import Scope
from server.domains.identity.letters import Kind, send_letter
from server.domains.identity.passwords import Passwords, refuse_common
from server.domains.identity.sessions import Sessions
from server.domains.identity.sign_in_guard import IS_KNOWN, SignInGuard
from server.domains.identity.tables import api_keys, users
from server.kernel.call import Call, Principal
from server.kernel.guard import AccessTokens
from server.kernel.ids import new_id
from server.kernel.mail_addresses import known_form, normal_address
from server.kernel.ports import Memberships
from server.kernel.problems import (
    Denied,
    RateLimited,
    Reason,
    Unauthenticated,
    not_found,
    taken,
)
from server.kernel.resources import EventFacts, Service

USER = "plinth.dev/User"
TENANT = "plinth.dev/Tenant"
PLATFORM_ROLE = "super_admin"

_alive = users.c.delete_time.is_(None)
_shown = (
    *(users.c.id, users.c.email, users.c.first_name, users.c.last_name),
    *(users.c.create_time, users.c.email_verify_time),
)
_facts = (*_shown, users.c.password_hash, users.c.is_platform, users.c.last_tenant_id)
_added = ("id", "email", "password_hash", "first_name", "last_name")
ADD_USER = Statement(
    insert(users)
    .values({name: bindparam(name, type_=users.c[name].type) for name in _added})
    .on_conflict_do_nothing()
    .returning(users.c.create_time)
)
_is_theirs = func.lower(users.c.email) == func.lower(bindparam("address", type_=users.c.email.type))
BY_EMAIL = Statement(select(*_facts).where(_alive, _is_theirs))
"""Takes `address`."""
WHO_SIGNS_IN = Statement(select(*_facts, IS_KNOWN.label("is_known")).where(_alive, _is_theirs))
"""Takes `address` and `network`."""
BY_ID_OF = select(*_facts).where(_alive, users.c.id == bindparam("user_id", type_=users.c.id.type))
BY_ID = Statement(BY_ID_OF)
_key, _in_tenant = (bindparam(name, type_=api_keys.c.id.type) for name in ("api_key_id", "tenant_id"))
KEY_NAME = Statement(select(api_keys.c.name).where(api_keys.c.tenant_id == _in_tenant, api_keys.c.id == _key))
# A password that was changed since it was read stays, and the sign-in with the old one is refused.
NOTE_LOGIN = Statement(
    update(users)
    .where(
        users.c.id == bindparam("user_id", type_=users.c.id.type),
        users.c.password_hash == bindparam("known_hash", type_=users.c.password_hash.type),
    )
    .values(
        last_login_time=func.now(),
        last_tenant_id=bindparam("tenant", type_=users.c.last_tenant_id.type),
        password_hash=bindparam("hash", type_=users.c.password_hash.type),
    )
)


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
    }

    def __init__(
        self,
        tokens: AccessTokens,
        sessions: Sessions,
        memberships: Memberships,
        passwords: Passwords,
        *,
        guard: SignInGuard,
        default_tenant: str | None,
    ) -> None:
        """`default_tenant` is the subdomain of the tenant for sign-ups that name none."""
        super().__init__()
        self._tokens = tokens
        self._sessions = sessions
        self._memberships = memberships
        self._passwords = passwords
        self._guard = guard
        self._default_tenant = default_tenant

    def sign_up(self, call: Call, request: auth_pb2.SignUpRequest) -> SignUpResponse:
        """Create a user. A known address gets the same answer, so that addresses cannot be probed."""
        email = normal_address(request.email, "email")
        refuse_common("password", request.password)
        # Hashing takes about 40 ms, so it comes before the transaction.
        hashed = self._passwords.hash(request.password)
        tenant = self._open_tenant(call, request.tenant or self._default_tenant or "")
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
        is_new = self._welcome(call, user, added, tenant)
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
            self._wrong_credentials(call, row)
            raise
        hashed = self._passwords.sign_in(row["password_hash"] if row else None, request.password)
        if hashed is None or row is None:
            self._guard.failed(attempt, request.password)
            raise self._wrong_credentials(call, row)
        call.writes.bind(Scope(user_id=row["id"]))
        place = self._chosen(call, row, request.tenant)
        tenant_id = place["tenant_id"] if place else None
        known = {"user_id": row["id"], "known_hash": row["password_hash"]}
        if not call.writes.run(NOTE_LOGIN, **known, tenant=tenant_id, hash=hashed).count:
            raise self._wrong_credentials(call, row)
        self._guard.succeeded(call, attempt, row["id"])
        session_id, refresh, expires = self._sessions.start(call, row["id"], tenant_id)
        session = self._session(row, session_id, place)
        session.refresh_token = refresh
        session.refresh_expire_time.FromDatetime(expires)
        _leave_event(call, session, session_id)
        return session

    def refresh_token(self, call: Call, request: auth_pb2.RefreshTokenRequest) -> Session:
        """Exchange a refresh token for new tokens. A copied token ends its session."""
        session_id, counter = self._sessions.read(request.refresh_token)
        held = self._sessions.lock(call.writes, session_id)
        if self._sessions.is_reuse(held, counter):
            self._sessions.end(call, session_id, "refresh token reused")
            return self._refuse_reuse(call, held)
        return self._renewed(call, held, held["current_tenant_id"], counter)

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

    def _open_tenant(self, call: Call, subdomain: str) -> Row | None:
        """The tenant that a sign-up joins.

        Raises the same Denied if it accepts no sign-ups and if it does not exist.
        """
        if not subdomain:
            return None
        tenant = self._memberships.sign_up_policy(call.writes, subdomain)
        if tenant is None or not tenant["sign_up_open"]:
            raise Denied("This tenant takes no sign-ups.", reason=Reason.REASON_SIGN_UP_CLOSED)
        return tenant

    def _welcome(self, call: Call, user: User, added: Result, tenant: Row | None) -> bool:
        """Welcome a new user. For a known address, emit an event for its owner, or reveal it if the tenant chose so.

        Returns whether the user is new.
        """
        row = added.first()
        if row is not None:
            user.create_time.FromDatetime(row["create_time"])
            if tenant is not None:
                self._memberships.join(call.writes, tenant["id"], user.id)
            call.event_payload = user
            call.tenant_id = tenant["id"] if tenant else None
            return True
        if tenant is not None and tenant["sign_up_conflict_visible"]:
            raise taken(USER, "email")
        user.create_time.GetCurrentTime()
        call.emits = ""
        call.emit("user.sign_up_repeated", "", User(email=user.email))
        return False

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
        session = self._session(row, held["id"], place)
        session.refresh_token = token
        session.refresh_expire_time.FromDatetime(expires)
        _leave_event(call, session, held["id"])
        return session

    def _wrong_credentials(self, call: Call, row: Row | None) -> Unauthenticated:
        """The problem of a failed sign-in, which the tenants of the account's owner see.

        For an unknown address the same query is run, so that the time taken reveals nothing.
        """
        user_id = row["id"] if row else new_id()
        call.writes.bind(Scope(user_id=user_id))
        places = self._memberships.of_user(call.writes, user_id)
        if row is not None:
            call.note_target(user_id, [place["tenant_id"] for place in places])
        return Unauthenticated("Invalid credentials.")

    def _chosen(self, call: Call, row: Row, subdomain: str) -> Row | None:
        """The membership to sign in to: in the named tenant, else in the last one, else the first one, else None."""
        find = self._memberships
        if subdomain:
            named = find.of_user_at(call.writes, row["id"], subdomain)
            if named is None:
                raise self._wrong_credentials(call, row)
            return named
        last = row["last_tenant_id"]
        place = find.of_user_in(call.writes, row["id"], last) if last else None
        return place or next(iter(find.of_user(call.writes, row["id"])), None)

    def _session(self, row: Row, session_id: str, place: Row | None) -> Session:
        roles = tuple(place["roles"]) if place else ()
        principal = Principal(
            user_id=row["id"],
            session_id=session_id,
            tenant_id=place["tenant_id"] if place else None,
            roles=(*roles, PLATFORM_ROLE) if row["is_platform"] else roles,
            is_platform=row["is_platform"],
            expires_at=0,
        )
        return Session(
            access_token=self._tokens.issue(principal),
            token_type="Bearer",  # noqa: S106 - a kind of token, not one
            expires_in=self._tokens.lifetime,
            user=shown_user(row),
            tenant_id=principal.tenant_id or "",
            roles=principal.roles,
        )

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


def _leave_event(call: Call, session: Session, session_id: str) -> None:
    """Set the event, which names the user and the tenant of the session. Tokens are redacted from it."""
    call.event_payload = session
    call.note_actor(session.user.id, session_id)
    call.tenant_id = session.tenant_id or None
    call.writes.bind(Scope(tenant_id=call.tenant_id, user_id=session.user.id))


def _name_of(call: Call, caller: Principal) -> str:
    """The name of an API key, or the mail address of a user; empty if the caller has gone this moment."""
    if caller.api_key_id:
        row = call.reads.run(KEY_NAME, tenant_id=caller.tenant_id, api_key_id=caller.api_key_id).first()
    else:
        row = call.reads.run(BY_ID, user_id=caller.user_id).first()
    return str(row["name" if caller.api_key_id else "email"]) if row else ""


def shown_user(row: Row) -> User:
    """The user in a row."""
    user = User(
        id=row["id"],
        email=row["email"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        state=User.STATE_ACTIVE,
    )
    user.create_time.FromDatetime(row["create_time"])
    if row["email_verify_time"] is not None:
        user.email_verify_time.FromDatetime(row["email_verify_time"])
    return user


def _membership(place: Row) -> auth_pb2.Membership:
    return auth_pb2.Membership(
        tenant_id=place["tenant_id"],
        subdomain=place["subdomain"],
        tenant_name=place["name"],
        roles=place["roles"],
    )
