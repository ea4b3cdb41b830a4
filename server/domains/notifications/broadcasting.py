"""Broadcasting: everybody in a tenant is told something, some at a time, in transactions that remember how far."""

from collections.abc import Mapping
from typing import cast

from google.protobuf import json_format
from plinth.notifications.v1.notification_sending_pb2 import NotificationMessage
from plinth.operations.v1.operation_pb2 import Operation

from server.domains.notifications.telling import Teller, letters_to
from server.domains.notifications.texts import Texts, texts_of
from server.json_values import JsonValue
from server.kernel.call import Call
from server.kernel.jobs import DEFAULT_QUEUE
from server.kernel.operations import LongJob, Work
from server.kernel.ports import Memberships

KIND, JOB = "notification_broadcast", "notifications.broadcast"
AT_ONCE = 250


def start_broadcast(
    call: Call, memberships: Memberships, message: NotificationMessage, texts: Texts, roles: list[str]
) -> Operation:
    """Start the operation, in the transaction of the call."""
    total = memberships.count(call.reads, str(call.tenant_id), roles)
    return call.start(
        *(KIND, DEFAULT_QUEUE, JOB),
        message=json_format.MessageToDict(message),
        texts=texts.stored(),
        roles=cast("JsonValue", roles),
        total=total,
        actor_id=call.actor_id,
    )


class Broadcaster:
    """Does the work of the operation."""

    def __init__(self, teller: Teller, memberships: Memberships) -> None:
        self._teller, self._memberships = teller, memberships

    @property
    def long_job(self) -> LongJob:
        """It goes on where it was."""
        return LongJob(JOB, self.work, resumable=True)

    def work(
        self,
        work: Work,
        *,
        message: Mapping[str, JsonValue],
        texts: Mapping[str, Mapping[str, str]],
        roles: list[str],
        total: int,
        actor_id: str | None,
    ) -> dict[str, JsonValue]:
        """Tell the next ones until nobody is left."""
        said = json_format.ParseDict(dict(message), NotificationMessage())
        # Once for each person, however often this is attempted.
        said.dedupe_key = f"broadcast:{work.id}"
        read = texts_of(said, texts)
        place, done, told = cast("tuple[str, int, int]", work.saved.get("place", ("", 0, 0)))
        is_last = False
        while not is_last:
            with work.batch() as transaction:
                found = self._memberships.after(transaction, work.tenant_id, place, roles, AT_ONCE)
                if found:
                    letters = letters_to(found, said, read)
                    told += self._teller.tell_in_a_job(transaction, work.tenant_id, actor_id, letters, JOB)
                    place, done = found[-1], done + len(found)
                work.progress(done, max(done, total))
                work.save(place=[place, done, told])
            is_last = len(found) < AT_ONCE
        return {"recipients": done, "told": told}
