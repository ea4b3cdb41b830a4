"""Invitations: somebody is asked by mail into a tenant, and becomes a member by accepting.

The token in the mail proves the address, so it is all that accepting needs of a user whose address is verified. It is
looked up as the platform, since the tenant is not known before. Then the call goes on in that tenant.
"""

from datetime import timedelta
from typing import ClassVar

from plinth.identity.v1 import invitation_pb2
from plinth.identity.v1.invitation_pb2 import AcceptInvitationResponse, Invitation, InvitationPreview
from plinth.identity.v1.user_pb2 import User
from sqlalchemy import Text, bindparam, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope, Transaction
from server.domains.identity.accounts import END_ALL, RENAME, RESET_PASSWORD, end_sessions
from server.domains.identity.granting import Granting
from server.domains.identity.letters import LetterTokens, given_hashes, refuse_token
from server.domains.identity.passwords import Passwords, refuse_common
from server.domains.identity.settings import IdentitySettings
from server.domains.identity.tables import invitations
from server.domains.identity.user_rows import ADD_USER, BY_EMAIL, shown_user
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.guard import access_tag
from server.kernel.mail_addresses import normal_address
from server.kernel.ports import SECRET_PLACE, Mail, Mails, Memberships
from server.kernel.problems import StateForbids, Violation, broken_rules, taken
from server.kernel.resources import EventFacts, Resource, Service

LIFETIME = timedelta(days=7)
USUAL_ROLE = "employee"
_c = invitations.c
_id = UUID(as_uuid=False)
BY_TOKEN = Statement(
    select(*invitations.c)
    .where(_c.token_hash.in_(given_hashes()), _c.accept_time.is_(None), _c.expire_time > func.now())
    .with_for_update()
)
"""Takes `hashes`, in hexadecimal."""
LOOK_AT = Statement(
    select(_c.tenant_id, _c.email, _c.roles, _c.expire_time).where(
        _c.token_hash.in_(given_hashes()), _c.accept_time.is_(None), _c.expire_time > func.now()
    )
)
OPEN = Statement(
    select(_c.id).where(
        _c.tenant_id == bindparam("tenant", type_=_id),
        _c.email_folded == bindparam("address", type_=Text()),
        _c.accept_time.is_(None),
        _c.expire_time > func.now(),
    )
)
_changed = {"version": _c.version + text("1"), "update_time": func.now()}
_is_own = (_c.tenant_id == bindparam("tenant", type_=_id), _c.id == bindparam("invitation", type_=_id))
RENEW = Statement(
    update(invitations)
    .where(*_is_own)
    .values(
        token_hash=bindparam("hash", type_=_c.token_hash.type),
        expire_time=bindparam("until", type_=_c.expire_time.type),
        **_changed,
    )
)
ACCEPT = Statement(
    update(invitations)
    .where(*_is_own)
    .values(
        accept_time=func.now(),
        accept_user_id=bindparam("user", type_=_id),
        token_hash=literal_column("NULL"),
        **_changed,
    )
)


class InvitationService(Service[Invitation]):
    """Invitations into a tenant."""

    descriptor = invitation_pb2.DESCRIPTOR.services_by_name["InvitationService"]
    resource = Resource(
        Invitation,
        invitations,
        filterable=("id", "email", "expire_time", "create_time", "update_time"),
        sortable=("create_time",),
        hidden=("email_folded", "token_hash"),
    )
    events: ClassVar = {"invitation.accepted": EventFacts(Invitation, "Somebody accepted an invitation.")}

    def __init__(
        self,
        tokens: LetterTokens,
        passwords: Passwords,
        granting: Granting,
        *,
        memberships: Memberships,
        mails: Mails,
        database: Database,
        own: IdentitySettings,
        api: str,
        clock: Clock,
        body: str = "invitation",
    ) -> None:
        """`api` is the address of the API, for mail without a front end to lead to.

        `body` is the field of requests that has the address and the roles, which violations name.
        """
        super().__init__()
        self._tokens = tokens
        self._passwords = passwords
        self._granting = granting
        self._memberships = memberships
        self._mails = mails
        self._database = database
        self._own = own
        self._api = api
        self._body = body
        self._clock = clock

    # Inviting ------------------------------------------------------------------------------------------------------

    def prepare(self, call: Call, resource: Invitation, before: Invitation | None) -> None:
        """Fill in the usual role, the inviter and the time. No RPC updates an invitation."""
        del before
        resource.email = normal_address(resource.email, f"{self._body}.email")
        if not resource.roles:
            resource.roles.append(USUAL_ROLE)
        resource.invite_user_id = call.caller.user_id
        resource.expire_time.FromDatetime(self._clock() + LIFETIME)

    def check(self, call: Call, resource: Invitation, before: Invitation | None) -> None:
        """Refuse roles that the caller may not grant, and a second invitation of an address."""
        del before
        self._granting.check(call, f"{self._body}.roles", resource.roles)
        known = call.writes.run(OPEN, tenant=call.tenant_id, address=resource.email.lower())
        if known.returned:
            raise taken(self.rows.type, "email")

    def before_write(self, call: Call, values: Row, before: Invitation | None) -> None:
        """Make the token, and send it."""
        del before
        token, values["token_hash"] = self._tokens.new()
        values["email_folded"] = values["email"].lower()
        self._send(call, values["email"], values["message"], token)

    def resend_invitation(self, call: Call, request: invitation_pb2.ResendInvitationRequest) -> Invitation:
        """Send the mail of an open invitation again."""
        before: Invitation = self.rows.lock(call, request.invitation_id)
        if before.HasField("accept_time"):
            metadata = {"resource_type": self.rows.type, "resource": before.id, "state": "ACCEPTED"}
            raise StateForbids("It was accepted already.", metadata=metadata)
        self._granting.check(call, f"{self._body}.roles", before.roles)
        token, hashed = self._tokens.new()
        until = self._clock() + LIFETIME
        call.writes.run(RENEW, tenant=call.tenant_id, invitation=before.id, hash=hashed, until=until)
        self._send(call, before.email, before.message, token)
        after: Invitation = self.rows.get(call, before.id)
        call.note_change(before, after)
        return after

    # Accepting -----------------------------------------------------------------------------------------------------

    def validate_invitation(self, call: Call, request: invitation_pb2.ValidateInvitationRequest) -> InvitationPreview:
        """What a token invites to."""
        del call
        with self._database.read(Scope(platform=True)) as transaction:
            row = transaction.run(LOOK_AT, hashes=self._tokens.hashes(request.token)).first()
            place = self._place(transaction, row)
            if row is None or place is None:
                refuse_token()
            account = transaction.run(BY_EMAIL, address=row["email"]).first()
        preview = InvitationPreview(
            tenant_name=place["name"],
            subdomain=place["subdomain"],
            email=row["email"],
            roles=row["roles"],
            has_account=account is not None and account["email_verify_time"] is not None,
        )
        preview.expire_time.FromDatetime(row["expire_time"])
        return preview

    def accept_invitation(
        self, call: Call, request: invitation_pb2.AcceptInvitationRequest
    ) -> AcceptInvitationResponse:
        """Make somebody a member."""
        call.writes.bind(Scope(platform=True))
        row = call.writes.run(BY_TOKEN, hashes=self._tokens.hashes(request.token)).first()
        place = self._place(call.writes, row)
        if row is None or place is None:
            refuse_token()
        user = self._account(call, row, request)
        call.note_actor(user.id)
        call.tenant_id = row["tenant_id"]
        call.writes.bind(Scope(tenant_id=row["tenant_id"], user_id=user.id))
        before = self.rows.get(call, row["id"])
        self._memberships.add(call.writes, row["tenant_id"], user.id, row["roles"])
        call.invalidate(access_tag(row["tenant_id"]))
        call.writes.run(ACCEPT, tenant=row["tenant_id"], invitation=row["id"], user=user.id)
        after = self.rows.get(call, row["id"])
        call.note_change(before, after)
        call.event_payload = after
        return AcceptInvitationResponse(user=user, tenant_id=row["tenant_id"], subdomain=place["subdomain"])

    # Parts ---------------------------------------------------------------------------------------------------------

    def _place(self, transaction: Transaction, row: Row | None) -> Row | None:
        """The tenant of an invitation; None if it is gone."""
        return self._memberships.place(transaction, row["tenant_id"]) if row is not None else None

    def _account(self, call: Call, invited: Row, request: invitation_pb2.AcceptInvitationRequest) -> User:
        """The account of an address.

        One whose address nobody has verified may be of somebody else, who signed up with it: it gets the password of
        this request, and its sessions end. A new one has the id of the invitation, by which others know it already.
        """
        known = call.writes.run(BY_EMAIL, address=invited["email"]).first()
        if known is None or known["email_verify_time"] is None:
            known = self._taken_over(call, invited, request)
        return shown_user(known)

    def _taken_over(self, call: Call, invited: Row, request: invitation_pb2.AcceptInvitationRequest) -> Row:
        email = invited["email"]
        if not request.password:
            raise broken_rules([Violation("password", "is needed for a new account", "password.missing")])
        refuse_common("password", request.password)
        hashed = self._passwords.hash(request.password)
        names = {name: getattr(request, name) or invited[name] for name in ("first_name", "last_name")}
        call.writes.run(ADD_USER, id=invited["id"], email=email, password_hash=hashed, **names)
        user_id = call.writes.run(BY_EMAIL, address=email).one()["id"]
        call.writes.queue(RESET_PASSWORD, user_id=user_id, hash=hashed)
        call.writes.queue(RENAME, user_id=user_id, **names)
        end_sessions(call, END_ALL, user_id, "account taken over by invitation")
        return call.writes.run(BY_EMAIL, address=email).one()

    def _send(self, call: Call, email: str, message: str, token: str) -> None:
        place = self._memberships.place(call.writes, str(call.tenant_id))
        name = place["name"] if place else ""
        app = self._own.identity_app_url
        link = f"{app}/accept-invitation?token=" if app else f"{self._api}/api/v1/employees/validate-invitation/"
        words = f"{message}\n\n" if message else ""
        self._mails.add(
            call.writes,
            Mail(
                to=email,
                subject=f"Invitation to {name}",
                text=f"Hello,\n\nyou are invited to {name} at {self._own.identity_product}.\n\n{words}"
                f"To accept, or to see what it is about:\n\n{link}{SECRET_PLACE}\n\nThe link is valid for 7 days.\n",
                secret=token,
                tenant_id=str(call.tenant_id),
                lifetime=LIFETIME,
            ),
        )
