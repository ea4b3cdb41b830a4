"""What every way of signing up ends with: a user, in a tenant that takes sign-ups, or in none."""

from plinth.identity.v1.user_pb2 import User

from server.data.connections import Result
from server.data.statements import Row
from server.domains.identity.user_rows import ADD_VERIFIED_USER, USER, shown_user
from server.kernel.call import Call
from server.kernel.ids import new_id
from server.kernel.ports import Memberships
from server.kernel.problems import Denied, Reason, taken


class SignUps:
    """Welcomes new users."""

    def __init__(self, memberships: Memberships, default_tenant: str | None) -> None:
        """`default_tenant` is the subdomain of the tenant for sign-ups that name none."""
        self._memberships = memberships
        self._default_tenant = default_tenant or ""

    def with_verified_address(self, call: Call, email: str, *, tenant: str, first_name: str, last_name: str) -> Row:
        """A new user without a password, whose address is known to be theirs.

        Raises Denied for a tenant that takes no sign-ups, and Taken if somebody has the address.
        """
        joined = self.tenant(call, tenant)
        row = call.writes.run(
            ADD_VERIFIED_USER, id=new_id(), email=email, password_hash="", first_name=first_name, last_name=last_name
        ).first()
        if row is None:
            raise taken(USER, "email")
        if joined is not None:
            self._memberships.join(call.writes, joined["id"], row["id"])
        call.emit("user.signed_up", row["id"], shown_user(row))
        return row

    def tenant(self, call: Call, subdomain: str) -> Row | None:
        """The tenant that a sign-up joins.

        Raises the same Denied if it accepts no sign-ups and if it does not exist.
        """
        subdomain = subdomain or self._default_tenant
        if not subdomain:
            return None
        tenant = self._memberships.sign_up_policy(call.writes, subdomain)
        if tenant is None or not tenant["sign_up_open"]:
            raise Denied("This tenant takes no sign-ups.", reason=Reason.REASON_SIGN_UP_CLOSED)
        return tenant

    def welcome(self, call: Call, user: User, added: Result, tenant: Row | None) -> bool:
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
