"""`plinth tail`: what happens in a tenant, as it happens."""

import argparse
import sys
from typing import Any

from google.protobuf.message import DecodeError
from plinth.client.client import Plinth
from plinth.client.command.arguments import above_zero
from plinth.client.command.connecting import add_target, work_with
from plinth.client.command.contract import Contract
from plinth.client.command.output import print_json
from plinth.client.json_messages import json_of
from plinth.realtime.v1.realtime_pb2 import WatchEventsRequest


def add_commands(commands: Any) -> None:
    """Add the command to a parser."""
    tail = commands.add_parser(
        "tail",
        help="show live events",
        description="Show the events of the tenant as they happen, over restarts and renewed sessions, until Ctrl-C.",
        epilog="plinth tail --types 'page.*' trip.created",
    )
    tail.set_defaults(run=run)
    tail.add_argument("--types", nargs="+", default=[], metavar="TYPE", help="only these: page.created, page.*")
    tail.add_argument("--since", default="", metavar="EVENT", help="begin after the event with this id")
    tail.add_argument("--json", action="store_true", help="print each event as JSON in a line, with its resource")
    tail.add_argument("--count", type=above_zero(int), default=None, metavar="N", help="stop after N events")
    add_target(tail)


def run(options: argparse.Namespace) -> int:
    """Show events until there were as many as were asked for."""
    return work_with(options, lambda client: _tail(client, options))


def _tail(client: Plinth, options: argparse.Namespace) -> int:
    contract, shown = Contract.installed(), 0
    request = WatchEventsRequest(types=",".join(options.types), last_event_id=options.since)
    for event in client.realtime.watch_events(request):
        # The stream has events of its own.
        if not event.type.startswith("stream."):
            _show(contract, event, is_json=options.json)
            shown += 1
        if shown == options.count:
            break
    return 0


def _show(contract: Contract, event: Any, *, is_json: bool) -> None:
    moment = event.create_time.ToJsonString()
    if not is_json:
        sys.stdout.write(f"{moment}  {event.type:<28}  {event.resource_id}  {event.id}\n")
        sys.stdout.flush()
        return
    shown = json_of(event)
    shown["payload"] = _payload(contract, event)
    print_json(shown, is_compact=True)


def _payload(contract: Contract, event: Any) -> Any:
    """The resource as JSON; None for a message that this version does not know."""
    try:
        return json_of(contract.message_class(event.message_type).FromString(event.payload))
    except (LookupError, DecodeError):
        return None
