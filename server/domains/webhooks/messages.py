"""The body of a message: `{"type", "timestamp", "data"}`, where data is the resource as REST shows it."""

import json
from datetime import datetime

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def message_of(event_type: str, time: datetime, payload: Message) -> bytes:
    """The body of the message for an event. `time` is the time of the event."""
    data = json_format.MessageToDict(payload, always_print_fields_with_no_presence=True)
    body = {"type": event_type, "timestamp": moment(time).ToJsonString(), "data": data}
    # Sorted, because the order of map entries differs between processes, and each attempt must send the same bytes.
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()


def moment(time: datetime) -> Timestamp:
    """A time as a protobuf message."""
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
