"""Blocked addresses: managed by platform administrators, and added after failures to authenticate."""

import logging
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

import psycopg
from plinth.operations.v1 import ip_block_pb2
from plinth.operations.v1.ip_block_pb2 import IpBlock
from sqlalchemy import bindparam, delete, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from server.data.connections import DatabaseUnavailable
from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.domains.operations.tables import ip_blocks
from server.kernel.addresses import IPV6_CALLER, Network
from server.kernel.caching import Generations
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.guard import BLOCKS_TAG, Blocked
from server.kernel.ids import new_id
from server.kernel.problems import Violation, broken_rules
from server.kernel.record import record_platform_change
from server.kernel.resources import Resource, Service

log = logging.getLogger("plinth.blocks")
# A shorter prefix is a mistake: it would refuse a large part of the internet.
SHORTEST_PREFIX = {4: 8, 6: 16}
LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
MAPPED = IPv6Network("::ffff:0:0/96")
MOST_BLOCKS = 100_000
AUTOMATIC_BLOCK = timedelta(hours=1)
CAUSE = "plinth/address"
"""Takes the place of an RPC in audit entries: the step that adds blocks."""
AUTOMATIC_REASON = "repeated failures to authenticate"

_network = bindparam("network", type_=ip_blocks.c.network.type)
_now = bindparam("now", type_=ip_blocks.c.expire_time.type)
_names = ("id", "network", "reason", "automatic", "expire_time")
DROP_ENDED = Statement(delete(ip_blocks).where(ip_blocks.c.network == _network, ip_blocks.c.expire_time <= _now))
HOLDING = Statement(
    select(ip_blocks.c.network, ip_blocks.c.expire_time)
    .where(or_(ip_blocks.c.expire_time.is_(None), ip_blocks.c.expire_time > _now))
    .order_by(ip_blocks.c.create_time.desc(), ip_blocks.c.id.desc())
    .limit(MOST_BLOCKS)
)
_new = insert(ip_blocks).values({name: bindparam(name, type_=ip_blocks.c[name].type) for name in _names})
BLOCK = Statement(
    _new.on_conflict_do_update(
        index_elements=[ip_blocks.c.network],
        set_={
            "expire_time": _new.excluded.expire_time,
            "version": ip_blocks.c.version + text("1"),
            "update_time": func.now(),
        },
        # A block that never ends, or ends later, stays unchanged.
        where=ip_blocks.c.expire_time < _new.excluded.expire_time,
    )
)


class IpBlockService(Service[IpBlock]):
    """Blocked addresses."""

    descriptor = ip_block_pb2.DESCRIPTOR.services_by_name["IpBlockService"]
    resource = Resource(
        IpBlock,
        ip_blocks,
        filterable=("id", "network", "automatic", "create_time", "expire_time"),
        sortable=("create_time",),
        unique={"ip_blocks_network_key": "network"},
    )

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__()
        self._clock = clock

    def prepare(self, call: Call, resource: IpBlock, before: IpBlock | None) -> None:
        """Convert the network to its canonical form."""
        del call, before
        network = parse_network(resource.network)
        if network is not None:
            resource.network = str(network)

    def check(self, call: Call, resource: IpBlock, before: IpBlock | None) -> None:
        """Refuse an invalid network, one that is too wide or contains this host, and an expiry in the past."""
        del call, before
        violations = [
            *_network_violations(parse_network(resource.network)),
            *(_expiry_violations(resource, self._clock()) if resource.HasField("expire_time") else ()),
        ]
        if violations:
            raise broken_rules(violations)

    def before_write(self, call: Call, values: Row, before: IpBlock | None) -> None:
        """Remove an ended block of the same network, to make room for the new one."""
        del before
        call.writes.queue(DROP_ENDED, network=values["network"], now=self._clock())


class StoredBlocks:
    """The stored blocks, for the address step."""

    def __init__(self, database: Database, generations: Generations, clock: Clock = utc_now) -> None:
        self._database = database
        self._generations = generations
        self._clock = clock

    def load(self) -> list[Blocked]:
        """The blocks that have not ended; only the newest MOST_BLOCKS."""
        with self._database.read(Scope()) as transaction:
            found = transaction.run(HOLDING, now=self._clock()).all()
        if len(found) == MOST_BLOCKS:
            log.warning("only the newest %d blocked addresses are known", MOST_BLOCKS)
        return [(ip_network(row["network"], strict=False), row["expire_time"]) for row in found]

    def block(self, written: str) -> None:
        """Block a network or an address for a while; for IPv6 at least a /64.

        Never fails, and never blocks loopback.
        """
        network = parse_network(written)
        if isinstance(network, IPv6Network) and network.prefixlen > IPV6_CALLER:
            network = network.supernet(new_prefix=IPV6_CALLER)
        if network is None or _is_loopback(network):
            return
        try:
            self._store(str(network))
        except (psycopg.Error, DatabaseUnavailable) as error:
            # The failed call is answered with its own problem.
            log.warning("the address %s cannot be blocked: %s", written, type(error).__name__)
            return
        self._generations.invalidate([BLOCKS_TAG])
        log.warning("the address %s is blocked: %s", network, AUTOMATIC_REASON)

    def _store(self, network: str) -> None:
        now = self._clock()
        block = IpBlock(id=new_id(), network=network, reason=AUTOMATIC_REASON, automatic=True)
        block.create_time.FromDatetime(now)
        block.expire_time.FromDatetime(now + AUTOMATIC_BLOCK)
        with self._database.write(Scope()) as transaction:
            transaction.queue(DROP_ENDED, network=network, now=now)
            blocked = transaction.run(
                BLOCK,
                id=block.id,
                network=network,
                reason=AUTOMATIC_REASON,
                automatic=True,
                expire_time=now + AUTOMATIC_BLOCK,
            )
            if blocked.count:
                record_platform_change(
                    transaction,
                    "ip_block.created",
                    cause=CAUSE,
                    before=None,
                    after=block,
                    now=now,
                    security=True,
                    audience=None,
                )


def parse_network(written: str) -> Network | None:
    """The network in a text, which may have host bits set; None if it is no network.

    An IPv4-mapped IPv6 network becomes the IPv4 network.
    """
    if "%" in written:
        # The name of an interface has a meaning on one machine only.
        return None
    try:
        return _unmapped(ip_network(written, strict=False))
    except ValueError:
        return None


def _unmapped(network: Network) -> Network:
    if isinstance(network, IPv4Network) or not network.subnet_of(MAPPED):
        return network
    address = int(network.network_address) & int(IPv4Address("255.255.255.255"))
    return IPv4Network((address, network.prefixlen - MAPPED.prefixlen))


def _is_loopback(network: Network) -> bool:
    return any(network.version == own.version and network.overlaps(own) for own in LOOPBACK)


def _network_violations(network: Network | None) -> list[Violation]:
    if network is None:
        what, rule = "is no address and no network", "form"
    elif network.prefixlen < SHORTEST_PREFIX[network.version]:
        what, rule = f"is wider than /{SHORTEST_PREFIX[network.version]}", "width"
    elif _is_loopback(network):
        what, rule = "has addresses of this machine itself", "loopback"
    else:
        return []
    return [Violation("ip_block.network", what, f"ip_block.network.{rule}")]


def _expiry_violations(block: IpBlock, now: datetime) -> list[Violation]:
    try:
        is_future = block.expire_time.ToDatetime(UTC) > now
    except (ValueError, OverflowError):
        is_future = False
    if is_future:
        return []
    return [Violation("ip_block.expire_time", "is not in the future", "ip_block.expire_time.future")]
