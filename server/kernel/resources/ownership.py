"""Ownership: what belongs to one user of a tenant is seen and changed by that user alone, or with a permission.

The permission is `Resource.seen_by`. A list shows the caller's own, and with the permission those of another user or of
everyone, as its request names in the field of the owner. Of what is shown to everyone in part, a list shows all that
the caller sees, or those of one user.
"""

from google.protobuf.message import Message

from server.kernel.call import Call
from server.kernel.messages.fields import value_of
from server.kernel.problems import Denied, Reason
from server.kernel.resources.resource import EVERYONE, AnyResource


class Ownership:
    """The ownership of one resource."""

    def __init__(self, resource: AnyResource) -> None:
        self.field = resource.owner
        self._seen_by = resource.seen_by
        self._keys_own = resource.keys_own
        self._is_shown = resource.shown is not None

    def owner_reached(self, call: Call) -> str | None:
        """The user whose rows the call reaches; None if it reaches those of everyone.

        Raises Denied for an API key, which owns nothing, without the permission.
        """
        if self._sees_all(call):
            return None
        return self._caller(call)

    def owner_seen(self, call: Call) -> str | None:
        """The user who sees, beside what is shown to everyone, their own; None for who sees everything.

        Empty for an API key, which owns nothing. Raises Denied for one if nothing is shown to everyone.
        """
        if self._is_shown and not self._sees_all(call):
            return self._id_of(call)
        return self.owner_reached(call)

    def owner_named(self, request: Message) -> str:
        """The user whose rows a list of what is shown in part is about; empty for everyone's."""
        named = self._named(request) if self._is_shown else ""
        return "" if named == EVERYONE else named.lower()

    def owner_listed(self, call: Call, request: Message) -> str | None:
        """The user whose rows a list shows; None for everyone's.

        Raises Denied if the request names somebody else's and the caller lacks the permission.
        """
        if self._is_shown:
            return self.owner_seen(call)
        if self.field not in request.DESCRIPTOR.fields_by_name:
            # Those of one parent, which nobody lists by their owner.
            return self.owner_reached(call)
        named = self._named(request)
        if not named or (call.principal is not None and named.lower() == call.principal.id):
            return self._caller(call)
        if not self._sees_all(call):
            raise Denied(
                f"Only who holds `{self._seen_by}` sees what others own.", metadata={"permission": self._seen_by}
            )
        return None if named == EVERYONE else named.lower()

    def somebody_elses(self) -> Denied:
        """The problem of what is seen, and changed by its owner alone."""
        return Denied(
            f"It is somebody else's: only who holds `{self._seen_by}` changes what others own.",
            metadata={"permission": self._seen_by},
        )

    def owner_of_new(self, call: Call) -> str:
        """The user who owns what the call creates. Raises Denied for an API key."""
        return self._caller(call, remedy="sign in")

    def _sees_all(self, call: Call) -> bool:
        return call.access is not None and self._seen_by in call.access.permissions

    def _named(self, request: Message) -> str:
        return str(value_of(request, self.field)) if self.field in request.DESCRIPTOR.fields_by_name else ""

    def _id_of(self, call: Call) -> str:
        return (call.caller.id if self._keys_own else call.caller.user_id) or ""

    def _caller(self, call: Call, remedy: str = "") -> str:
        """The caller, as an owner. `remedy` is what a caller who cannot own anything may do instead."""
        user_id = self._id_of(call)
        if not user_id:
            other = f"sign in, or use a key with `{self._seen_by}` and name the user in `{self.field}`"
            raise Denied(
                f"Each of these belongs to a person, and an API key is none: {remedy or other}.",
                reason=Reason.REASON_USER_REQUIRED,
                metadata={"permission": self._seen_by},
            )
        return user_id
