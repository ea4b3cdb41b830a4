"""Users: the people of a tenant for those who administer it, and every account for the platform.

Adding a user invites them, whether or not the address has an account. So the answer does not tell who has an account,
and nobody becomes a member without agreeing.
"""

from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from plinth.identity.v1 import user_pb2
from plinth.identity.v1.invitation_pb2 import Invitation
from plinth.identity.v1.user_pb2 import ListUsersResponse, User
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.identity.accounts import END_ALL, RENAME, end_sessions
from server.domains.identity.granting import Granting
from server.domains.identity.invitations import InvitationService
from server.domains.identity.people import MEMBER_AT, PLATFORM_USERS, TENANT_USERS, TENANT_USERS_BY_EMAIL
from server.domains.identity.tables import invitations, users
from server.domains.identity.user_rows import LOCK_USER, USER
from server.kernel.call import Call
from server.kernel.mail_addresses import normal_address
from server.kernel.ports import Memberships
from server.kernel.problems import StateForbids, not_found, taken
from server.kernel.queries import PageTokens
from server.kernel.resources import EventFacts, Lister, ReadRows, RequestedChanges, Service

USUAL_ROLE = "member"
_user = bindparam("user_id", type_=UUID(as_uuid=False))
_changed = {"version": users.c.version + text("1"), "update_time": func.now()}
DELETE = Statement(update(users).where(users.c.id == _user).values(delete_time=func.now(), **_changed))
UNDELETE = Statement(
    update(users)
    .where(users.c.id == _user, users.c.delete_time.is_not(None), users.c.email != text("''"))
    .values(delete_time=text("NULL"), **_changed)
)
_i = invitations.c
_is_invited = (_i.tenant_id == bindparam("tenant", type_=_i.tenant_id.type), _i.id == _user)
LOCK_INVITED = Statement(select(_i.id).where(*_is_invited).with_for_update())
CHANGE_INVITED = Statement(
    update(invitations)
    .where(*_is_invited)
    .values(
        **{name: bindparam(name, type_=_i[name].type) for name in ("roles", "first_name", "last_name")},
        version=_i.version + text("1"),
        update_time=func.now(),
    )
)


class UserService(Service):
    """Users."""

    descriptor = user_pb2.DESCRIPTOR.services_by_name["UserService"]
    events: ClassVar = {"user.deleted": EventFacts(User)}

    def __init__(
        self, tokens: PageTokens, invited: InvitationService, memberships: Memberships, granting: Granting
    ) -> None:
        """`invited` are those who have not accepted yet."""
        super().__init__()
        self._members: ReadRows[User] = ReadRows(self, TENANT_USERS)
        self._accounts: ReadRows[User] = ReadRows(self, PLATFORM_USERS)
        self._list_members = Lister(self._members, tokens)
        self._list_by_email = Lister(ReadRows(self, TENANT_USERS_BY_EMAIL), tokens)
        self._list_accounts = Lister(self._accounts, tokens)
        self._changes = RequestedChanges(User, "user")
        self._invited = invited
        self._memberships = memberships
        self._granting = granting

    # Reading -------------------------------------------------------------------------------------------------------

    def list_users(self, call: Call, request: user_pb2.ListUsersRequest) -> ListUsersResponse:
        """The people of a tenant, or everybody with an account."""
        lister = self._list_accounts
        if call.tenant_id:
            # Both answer the same; each is fast for what it is there for.
            lister = self._list_by_email if "email" in request.filter else self._list_members
        found, token, total = lister.page(call, request)
        return ListUsersResponse(users=found, next_page_token=token, total_size=total)

    def get_user(self, call: Call, request: user_pb2.GetUserRequest) -> User:
        """One of them."""
        return self._get(call, request.user_id)

    def _get(self, call: Call, user_id: str) -> User:
        rows = self._members if call.tenant_id else self._accounts
        return rows.get(call, user_id)

    # Writing -------------------------------------------------------------------------------------------------------

    def create_user(self, call: Call, request: user_pb2.CreateUserRequest) -> User:
        """Invite somebody."""
        sent = request.user
        self._changes.refuse_read_only(sent)
        email = normal_address(sent.email, "user.email")
        if call.writes.run(MEMBER_AT, tenant=call.tenant_id, address=email).returned:
            raise taken(USER, "email")
        roles = list(sent.roles) or [USUAL_ROLE]
        asked = Invitation(email=email, first_name=sent.first_name, last_name=sent.last_name, roles=roles)
        invited = self._invited.rows.insert(call, asked)
        return self._get(call, invited.id)

    def update_user(self, call: Call, request: user_pb2.UpdateUserRequest) -> User:
        """Change the roles of a member, somebody who was invited, or the names of an account."""
        user_id = request.user_id.lower()
        before = self._locked(call, user_id)
        after = self._changes.apply(call, request, before)
        if after == before:
            call.changes_nothing = True
            return before
        self._write(call, before, after)
        changed = self._get(call, user_id)
        call.note_change(before, changed)
        return changed

    def delete_user(self, call: Call, request: user_pb2.DeleteUserRequest) -> Empty:
        """Remove a member, cancel an invitation, or delete an account."""
        user_id = request.user_id.lower()
        before = self._locked(call, user_id)
        self._changes.check_etag(call, before, request.etag)
        if not call.tenant_id:
            self._delete_account(call, user_id)
        elif before.state == User.STATE_INVITED:
            self._invited.rows.delete(call, self._invited.rows.lock(call, user_id))
        else:
            self._granting.check(call, "", (), before.roles)
            self._memberships.remove(call.writes, str(call.tenant_id), user_id)
        call.note_change(before, None)
        call.event_payload = before
        return Empty()

    def undelete_user(self, call: Call, request: user_pb2.UndeleteUserRequest) -> User:
        """Restore an account."""
        call.conflicts[users.name] = lambda _: taken(USER, "email")
        if not call.writes.run(UNDELETE, user_id=request.user_id).count:
            raise not_found(USER, request.user_id)
        restored = self._get(call, request.user_id)
        before = User()
        before.CopyFrom(restored)
        before.state = User.STATE_DELETED
        call.note_change(before, restored)
        return restored

    # Parts ---------------------------------------------------------------------------------------------------------

    def _locked(self, call: Call, user_id: str) -> User:
        """A user whose rows are locked until the call ends. Raises NotFound."""
        tenant_id = call.tenant_id
        if tenant_id is None:
            call.writes.run(LOCK_USER, user_id=user_id)
        elif self._memberships.lock_roles(call.writes, tenant_id, user_id) is None:
            call.writes.run(LOCK_INVITED, tenant=tenant_id, user_id=user_id)
        return self._get(call, user_id)

    def _write(self, call: Call, before: User, after: User) -> None:
        are_renamed = (before.first_name, before.last_name) != (after.first_name, after.last_name)
        names = {"first_name": after.first_name, "last_name": after.last_name}
        if call.tenant_id is None:
            if before.roles != after.roles:
                raise _forbidden(before, "NO_TENANT", "Roles belong to a tenant: name one.")
            call.writes.run(RENAME, user_id=after.id, **names)
            return
        self._granting.check(call, "user.roles", after.roles, before.roles)
        if before.state == User.STATE_INVITED:
            call.writes.run(CHANGE_INVITED, tenant=call.tenant_id, user_id=after.id, roles=list(after.roles), **names)
            return
        if are_renamed:
            raise _forbidden(before, "ACTIVE", "Somebody with an account names themselves.")
        self._memberships.set_roles(call.writes, call.tenant_id, after.id, list(after.roles))

    def _delete_account(self, call: Call, user_id: str) -> None:
        self._memberships.keep_owners(call.writes, self._memberships.tenants_of(call.writes, user_id), user_id)
        call.writes.run(DELETE, user_id=user_id)
        end_sessions(call, END_ALL, user_id, "account deleted")


def _forbidden(user: User, state: str, text: str) -> StateForbids:
    return StateForbids(text, metadata={"resource_type": USER, "resource": user.id, "state": state})
