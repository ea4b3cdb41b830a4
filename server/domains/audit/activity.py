"""The activity of one user: a list of changes that the user may see as well, without a permission."""

from plinth.audit.v1.audit_pb2 import ListUserActivitiesRequest, ListUserActivityRequest

from server.kernel.call import Call
from server.kernel.problems import Denied
from server.kernel.queries import parse_filter

SEES_ALL = "audit.entries.read"


def activity_asked(call: Call, request: ListUserActivityRequest) -> ListUserActivitiesRequest:
    """The list of all changes that holds those of one user. Raises Denied, and Malformed for a faulty filter."""
    user_id = request.user_id.lower()
    held = call.access.permissions if call.access else ()
    if user_id != call.caller.user_id and SEES_ALL not in held:
        raise Denied(f"This needs the permission `{SEES_ALL}`.", metadata={"permission": SEES_ALL})
    # Parsed by itself first, so that no parenthesis of it closes ours.
    parse_filter(request.filter)
    also = f" AND ({request.filter})" if request.filter.strip() else ""
    return ListUserActivitiesRequest(
        page_size=request.page_size,
        page_token=request.page_token,
        skip=request.skip,
        filter=f'actor_id = "{user_id}"{also}',
        order_by=request.order_by,
        include_total=request.include_total,
    )
