"""Policies: the options of descriptors, turned into frozen facts at start-up.

`read_policies` collects every fault before it fails, so that one start shows all of them.
"""

import difflib
import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from google.api import annotations_pb2, resource_pb2
from google.api.resource_pb2 import ResourceDescriptor
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from plinth.policy.v1 import policy_pb2

from server.extensions import POLICY
from server.kernel import openings, raw_bodies
from server.kernel.messages import free_form
from server.kernel.openings import Opening
from server.kernel.problems import Violation, broken_rules
from server.kernel.raw_bodies import RawBody

EMPTY = "google.protobuf.Empty"
IDENTITY = "identity"
"""The domain in which every change is a security event."""
LISTS = ("List", "BatchGet")
HTTP_BODY = "google.api.HttpBody"
OBSERVABILITY = "observability"
"""The domain that may write telemetry."""
TELEMETRY = "telemetry"
"""The rate class of such RPCs."""
PERMISSION = re.compile(r"^[a-z_]+\.[a-z_]+\.[a-z_]+$")
EVENT = re.compile(r"^[a-z_]+\.[a-z_]+$")
VARIABLE = re.compile(r"\{[^}]*\}")


class PolicyError(Exception):
    """The contract is faulty, and the server must not start. The message lists every fault."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("the contract is faulty:\n" + "\n".join(f"  - {fault}" for fault in self.faults))


class Access(enum.Enum):
    """Who may call."""

    PUBLIC = "public"
    SIGNED_IN = "signed_in"
    PERMISSION = "permission"
    PLATFORM = "platform"
    PROVIDER_SIGNATURE = "provider_signature"


class Criticality(enum.IntEnum):
    """The order of load shedding: under overload, the lowest is refused first."""

    SHEDDABLE = policy_pb2.CRITICALITY_SHEDDABLE
    NORMAL = policy_pb2.CRITICALITY_NORMAL
    CRITICAL = policy_pb2.CRITICALITY_CRITICAL


class Kind(enum.Enum):
    """The standard method that an RPC is (AIP-131 to 135, 164, 231, 233 to 235), recognised by its name and types."""

    GET = "Get"
    LIST = "List"
    CREATE = "Create"
    UPDATE = "Update"
    DELETE = "Delete"
    UNDELETE = "Undelete"
    BATCH_GET = "BatchGet"
    BATCH_CREATE = "BatchCreate"
    BATCH_UPDATE = "BatchUpdate"
    BATCH_DELETE = "BatchDelete"
    BATCH_WRITE = "BatchWrite"
    """Creations, updates and deletions together."""
    REORDER = "Reorder"
    CUSTOM = ""


OF_SEVERAL = (
    *(Kind.LIST, Kind.BATCH_GET, Kind.BATCH_CREATE, Kind.BATCH_UPDATE, Kind.BATCH_DELETE, Kind.BATCH_WRITE),
    Kind.REORDER,
)
"""The standard methods whose name has the plural of the resource."""
BATCHES = {Kind.BATCH_CREATE: "requests", Kind.BATCH_UPDATE: "requests", Kind.BATCH_WRITE: "operations"}
"""The batch methods whose request has further requests, each with the field that has them."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One HTTP method and path of an RPC, and the request field that the body fills (`*`: the whole request)."""

    verb: str
    path: str
    body: str

    @property
    def pattern(self) -> str:
        """The path as Envoy matches it: variables without names."""
        return VARIABLE.sub("{}", self.path)


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """Everything the chain needs to know about one RPC."""

    path: str
    """`/plinth.sites.v1.PageService/GetPage`."""
    name: str
    """`GetPage`."""
    descriptor: MethodDescriptor
    kind: Kind
    access: Access
    permission: str
    """The permission, or the adapter of a provider signature; empty for public and signed_in."""
    rate_class: str
    emits: str
    cache_seconds: float
    cache_tags: tuple[str, ...]
    per_caller: bool
    """Whether a cached answer may be served only to the same caller."""
    invalidates: tuple[str, ...]
    changes_access: bool
    is_security: bool
    """Whether it belongs to the security events of the audit log."""
    success_status: int
    timeout: float | None
    """Seconds that the gateway waits; None for the setting."""
    is_slow: bool
    """Whether it runs in the pool of RPCs that wait for others or compute for long."""
    waits: bool
    """Whether it is a unary RPC that waits for an event, on the event loop of the realtime role, as streams do."""
    criticality: Criticality
    read_only: bool
    streaming: bool
    has_tenant: bool
    """Whether the request names a tenant, in `tenant_id`."""
    has_etag: bool
    """Whether the request has an `etag` of its own."""
    bindings: tuple[Binding, ...]
    providers: tuple[str, ...]
    """The outside providers that it calls."""
    is_telemetry: bool = False
    """Whether it leaves neither an audit entry nor an event, and has a rate class that its tenant shares."""
    raw: RawBody | None = None
    """How its body is taken if it is raw bytes."""
    upload: RawBody | None = None
    """How its body is taken if it arrives in pieces."""
    opening: Opening | None = None
    """The RPC with which a stream begins that changes something."""
    takes_api_keys: bool = False
    """Whether API keys may call it as well, though it is for everyone who is signed in."""
    step_up: bool = False
    """Whether users who call have to have proven lately who they are."""
    is_file: bool = False
    """Whether it streams a file that is stored, with its length, an ETag, and parts of it."""
    platform_wide: bool = False
    """Whether platform administrators call it for the whole platform, unless their request names a tenant."""

    @property
    def on_loop(self) -> bool:
        """Whether the realtime role serves it, on its event loop: a stream, an RPC that waits, or an upload."""
        return self.streaming or self.waits or self.upload is not None

    @property
    def can_be_tried(self) -> bool:
        """Whether it can run without effect: all that it does is in its transaction, which can be rolled back.

        What acts outside waits for others, and is therefore slow.
        """
        acts_elsewhere = self.providers or self.is_slow or self.is_telemetry or self.opening or self.on_loop
        return not self.read_only and self.access is Access.PERMISSION and not acts_elsewhere

    @property
    def answers_etag(self) -> bool:
        """Whether its answer has an ETag: that of a resource, of cached bytes, or of a file whose handler names it."""
        output = self.descriptor.output_type
        is_file = output.full_name == HTTP_BODY and self.read_only and not self.streaming
        return "etag" in output.fields_by_name or bool(self.cache_seconds) or is_file or self.is_file

    @property
    def domain(self) -> str:
        """`sites` of `plinth.sites.v1`."""
        return _domain_of(self.descriptor)


def _domain_of(method: MethodDescriptor) -> str:
    return method.containing_service.full_name.split(".")[1]


def read_policies(services: Iterable[ServiceDescriptor]) -> dict[str, MethodPolicy]:
    """Every RPC's policy by path. Raises PolicyError with all faults."""
    methods = [method for service in services for method in service.methods]
    faults = [fault for method in methods for fault in _faults(method)]
    faults.extend(_collisions(methods))
    if faults:
        raise PolicyError(faults)
    policies = {policy.path: policy for policy in map(_read, methods)}
    faults.extend(fault for policy in policies.values() for fault in _opening_faults(policy, policies))
    if faults:
        raise PolicyError(faults)
    return policies


def method_named(policies: Mapping[str, MethodPolicy], field: str, name: str) -> MethodPolicy:
    """The RPC that a request names in a field: `plinth.sites.v1.PageService/GetPage`. Raises RuleViolated."""
    method = policies.get(f"/{name.removeprefix('/')}")
    if method is None:
        near = difflib.get_close_matches(f"/{name}", policies, n=1, cutoff=0.6)
        hint = f": did you mean `{near[0].removeprefix('/')}`?" if near else ""
        raise broken_rules([Violation(field, f"is no RPC of this server{hint}", "method.unknown")])
    return method


def methods_by_permission(policies: Iterable[MethodPolicy]) -> dict[str, tuple[str, ...]]:
    """Each permission that roles of a tenant can hold, with the RPCs that require it, such as `PageService.GetPage`."""
    found: dict[str, tuple[str, ...]] = {}
    for policy in policies:
        if policy.access is Access.PERMISSION:
            name = f"{policy.descriptor.containing_service.name}.{policy.name}"
            found[policy.permission] = (*found.get(policy.permission, ()), name)
    return found


def options_of(method: MethodDescriptor) -> policy_pb2.Policy | None:
    """The policy option of an RPC, or None if it has none."""
    options = method.GetOptions()
    return options.Extensions[POLICY] if options.HasExtension(POLICY) else None


def bindings_of(method: MethodDescriptor) -> tuple[Binding, ...]:
    """The HTTP bindings of an RPC, in the declared order."""
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return ()
    rule = options.Extensions[annotations_pb2.http]
    return tuple(Binding(_verb(part), _path(part), part.body) for part in (rule, *rule.additional_bindings))


def _bodies_of(method: MethodDescriptor) -> list[str]:
    return [binding.body for binding in bindings_of(method)]


def _verb(rule: object) -> str:
    kind: str = rule.WhichOneof("pattern")  # type: ignore[attr-defined]
    return str(rule.custom.kind) if kind == "custom" else kind.upper()  # type: ignore[attr-defined]


def _path(rule: object) -> str:
    kind: str = rule.WhichOneof("pattern")  # type: ignore[attr-defined]
    return str(rule.custom.path if kind == "custom" else getattr(rule, kind))  # type: ignore[attr-defined]


def is_read_only(method: MethodDescriptor) -> bool:
    """Whether an RPC declares that it changes nothing."""
    return bool(method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS)


def kind_of(method: MethodDescriptor) -> Kind:
    """The standard method that an RPC is. `GetPageBySlug` and other names with a suffix are custom."""
    resource = method.containing_service.name.removesuffix("Service")
    names = {
        f"Get{resource}": Kind.GET,
        f"Create{resource}": Kind.CREATE,
        f"Update{resource}": Kind.UPDATE,
        f"Delete{resource}": Kind.DELETE,
        f"Undelete{resource}": Kind.UNDELETE,
    }
    plural = _plural_of(method.containing_service, resource)
    if plural:
        names |= {f"{kind.value}{plural}": kind for kind in OF_SEVERAL}
    return names.get(method.name, Kind.CUSTOM)


def _plural_of(service: ServiceDescriptor, name: str) -> str:
    """`Stories` for the resource `Story`; empty if a service has no resource of its name."""
    resource = _resource_of(service, name)
    return resource.plural[:1].upper() + resource.plural[1:] if resource is not None else ""


def _resource_of(service: ServiceDescriptor, name: str) -> ResourceDescriptor | None:
    """The resource option of the message with this name in the file of the service, or None."""
    message = service.file.message_types_by_name.get(name)
    if message is None:
        return None
    resource: ResourceDescriptor = message.GetOptions().Extensions[resource_pb2.resource]
    return resource if resource.type else None


def _read(method: MethodDescriptor) -> MethodPolicy:
    option = options_of(method)
    if option is None:  # pragma: no cover - _faults() has refused it
        raise PolicyError([f"{method.full_name} has no policy"])
    access = Access(option.WhichOneof("access"))
    value = getattr(option, access.value)
    fields = method.input_type.fields_by_name
    return MethodPolicy(
        path=f"/{method.containing_service.full_name}/{method.name}",
        name=method.name,
        descriptor=method,
        kind=kind_of(method),
        access=access,
        permission=value if isinstance(value, str) else "",
        rate_class=TELEMETRY if option.telemetry else option.rate_class or "default",
        emits=option.emits,
        cache_seconds=option.cache.ttl.ToTimedelta().total_seconds(),
        cache_tags=tuple(option.cache.tags),
        # A page token is valid only for the caller to whom it was given.
        per_caller=option.cache.per_caller or access is Access.SIGNED_IN or "page_token" in fields,
        invalidates=tuple(option.invalidates),
        changes_access=option.changes_access,
        is_security=option.security or option.changes_access or _domain_of(method) == IDENTITY,
        success_status=_success_status(method, option),
        timeout=option.timeout.ToTimedelta().total_seconds() if option.HasField("timeout") else None,
        is_slow=option.pool == policy_pb2.POOL_SLOW,
        waits=option.pool == policy_pb2.POOL_WAITING,
        criticality=Criticality(option.criticality or _usual_criticality(option)),
        read_only=is_read_only(method),
        streaming=method.server_streaming,
        has_tenant="tenant_id" in fields and access is Access.PERMISSION,
        has_etag="etag" in fields,
        bindings=bindings_of(method),
        providers=tuple(option.providers),
        is_telemetry=option.telemetry,
        raw=raw_bodies.raw_body_of(method, option, _bodies_of(method)),
        upload=raw_bodies.upload_of(method, option, _bodies_of(method)),
        opening=openings.opening_of(option),
        takes_api_keys=option.takes_api_keys,
        is_file=option.file,
        platform_wide=option.platform_wide,
        step_up=option.step_up,
    )


def _usual_criticality(option: policy_pb2.Policy) -> Criticality:
    return Criticality.SHEDDABLE if option.telemetry else Criticality.NORMAL


def _success_status(method: MethodDescriptor, option: policy_pb2.Policy) -> int:
    declared: Mapping[int, int] = {
        policy_pb2.SUCCESS_OK: 200,
        policy_pb2.SUCCESS_CREATED: 201,
        policy_pb2.SUCCESS_NO_CONTENT: 204,
        policy_pb2.SUCCESS_ACCEPTED: 202,
    }
    if option.success:
        return declared[option.success]
    if method.output_type.full_name == EMPTY:
        return 204
    return 201 if kind_of(method) is Kind.CREATE else 200


def _faults(method: MethodDescriptor) -> Iterator[str]:
    name = method.full_name
    option = options_of(method)
    if option is None:
        yield f"{name} has no policy"
        return
    yield from (f"{name}: {fault}" for fault in _access_faults(method, option))
    yield from (f"{name}: {fault}" for fault in _step_up_faults(method, option))
    yield from (f"{name}: {fault}" for fault in _effect_faults(method, option))
    yield from (f"{name}: {fault}" for fault in _shape_faults(method))
    yield from (f"{name}: {fault}" for fault in _provider_faults(method, option))
    yield from (f"{name}: {fault}" for fault in _telemetry_faults(method, option))
    yield from (f"{name}: {fault}" for fault in raw_bodies.faults(method, option, _bodies_of(method)))
    yield from (f"{name}: {fault}" for fault in free_form.faults(method.input_type))


def _access_faults(method: MethodDescriptor, option: policy_pb2.Policy) -> Iterator[str]:
    kind = option.WhichOneof("access")
    if kind is None:
        yield "nobody decided who may call (access is unset)"
        return
    value = getattr(option, kind)
    if not value:
        yield f"access `{kind}` is empty"
    elif option.takes_api_keys and (kind != "signed_in" or not is_read_only(method)):
        yield "only reads for everyone who is signed in take API keys without a permission (takes_api_keys)"
    elif kind == "provider_signature" and (method.server_streaming or option.pool == policy_pb2.POOL_WAITING):
        yield "what a provider signs is unary and does not wait: start work that takes long, and answer"
    elif option.platform_wide and (kind != "permission" or "tenant_id" not in method.input_type.fields_by_name):
        yield "`platform_wide` is for a `permission`, and a request in which a tenant can be named (tenant_id)"
    elif option.platform_wide and (option.HasField("cache") or method.server_streaming):
        yield "what answers for the whole platform is neither cached nor a stream: drop `cache`, or `platform_wide`"
    elif kind in ("permission", "platform"):
        domain = method.containing_service.full_name.split(".")[1]
        if not PERMISSION.match(value):
            yield f"permission `{value}` is not <domain>.<resource>.<verb>"
        elif not value.startswith(f"{domain}."):
            yield f"permission `{value}` is not of the domain `{domain}`"


def _step_up_faults(method: MethodDescriptor, option: policy_pb2.Policy) -> Iterator[str]:
    is_known = option.WhichOneof("access") in ("signed_in", "permission", "platform")
    if option.step_up and (not is_known or method.server_streaming or method.client_streaming):
        yield "`step_up` is for unary RPCs whose caller is known: drop it"


def _effect_faults(method: MethodDescriptor, option: policy_pb2.Policy) -> Iterator[str]:
    reads = is_read_only(method)
    if reads and (option.emits or option.invalidates or option.changes_access):
        yield "a read emits no event, invalidates nothing and changes nobody's access"
    if option.HasField("cache"):
        yield from _cache_faults(method, option)
    if option.pool == policy_pb2.POOL_WAITING and (not reads or method.server_streaming or option.HasField("cache")):
        yield "only a unary read that is not cached can wait (POOL_WAITING)"
    fields = method.input_type.fields_by_name
    for tag in (*option.cache.tags, *option.invalidates):
        unknown = [name.strip("{}") for name in VARIABLE.findall(tag) if name.strip("{}") not in {*fields, "tenant_id"}]
        yield from (f"the tag `{tag}` names the field `{name}`, which is not there" for name in unknown)
    if not (reads or option.emits or option.telemetry or option.HasField("opening")):
        yield "a mutation names the event it emits"
    if option.emits and not EVENT.match(option.emits):
        yield f"event `{option.emits}` is not <resource>.<past participle>"


def _cache_faults(method: MethodDescriptor, option: policy_pb2.Policy) -> Iterator[str]:
    if not is_read_only(method):
        yield "only reads (NO_SIDE_EFFECTS) can be cached"
    if method.server_streaming:
        yield "a stream cannot be cached"
    if option.cache.ttl.ToTimedelta().total_seconds() <= 0:
        yield "what is cached has a time to live"
    if option.WhichOneof("access") not in ("public", "permission"):
        yield "what is cached is public or has a permission: only these are decided without the database"
    if any(binding.body for binding in bindings_of(method)):
        yield "what is cached is read with GET: the cache does not look at the keys of a body"
    if not option.cache.tags:
        yield "what is cached names the tags under which a write drops it"


def _provider_faults(method: MethodDescriptor, option: policy_pb2.Policy) -> Iterator[str]:
    if not option.providers:
        return
    if kind_of(method) is not Kind.CUSTOM:
        yield "a standard method may run twice, so it calls no provider: give it another name, such as StartPayment"
    if option.pool != policy_pb2.POOL_SLOW:
        yield "what calls a provider runs in POOL_SLOW"
    if not option.HasField("timeout"):
        yield "what calls a provider has a timeout"


def _telemetry_faults(method: MethodDescriptor, option: policy_pb2.Policy) -> Iterator[str]:
    """What may leave no trace in audit log and event log is narrow."""
    if not option.telemetry:
        return
    if _domain_of(method) != OBSERVABILITY:
        yield f"only the domain `{OBSERVABILITY}` writes telemetry, which nobody audits: drop `telemetry`"
    if is_read_only(method):
        yield "a read writes no telemetry: drop `telemetry`"
    if option.emits:
        yield "telemetry emits no event: drop `emits`, or `telemetry` if someone waits for the event"
    if kind_of(method) in (*BATCHES, Kind.BATCH_DELETE, Kind.REORDER):
        yield "standard methods on several resources emit an event for each: name it otherwise, such as RecordPoints"
    if option.changes_access or option.security:
        yield "what changes access or is a security event is audited: drop `telemetry`"
    if option.providers:
        yield "what calls a provider is audited: drop `telemetry`"
    if option.public:
        yield "telemetry is counted by tenant, so its callers have credentials: name a `permission`"
    if option.rate_class or option.criticality not in (0, policy_pb2.CRITICALITY_SHEDDABLE):
        yield f"telemetry has the rate class `{TELEMETRY}` and is sheddable: drop `rate_class` and `criticality`"


def _shape_faults(method: MethodDescriptor) -> Iterator[str]:
    bindings = bindings_of(method)
    if method.server_streaming and not is_read_only(method) and not _opens(method):
        yield "a stream is a read, or names the RPC that it begins with (`opening`)"
    option = options_of(method)
    sends_bytes = method.server_streaming and method.output_type.full_name == HTTP_BODY
    if option is not None and option.file and not sends_bytes:
        yield f"a `file` is a stream of {HTTP_BODY}"
    if not bindings and not method.server_streaming:
        yield "no HTTP binding"
    yield from _get_faults(method)
    known = method.input_type.fields_by_name
    service = method.containing_service
    resource = _resource_of(service, service.name.removesuffix("Service"))
    if resource is not None and not resource.plural and method.name.startswith(LISTS):
        yield f"{resource.type} says no plural in its google.api.resource, so that no list of it is known"
    if kind_of(method) in (Kind.LIST, Kind.BATCH_GET):
        paged = "page_token" in known and "next_page_token" in method.output_type.fields_by_name
        yield from () if paged else ("has no page_token, or its answer no next_page_token",)
    for binding in bindings:
        names = [variable.strip("{}").partition("=")[0] for variable in VARIABLE.findall(binding.path)]
        missing = [field for field in names if field.partition(".")[0] not in known]
        if binding.body not in ("", "*"):
            missing.extend([binding.body] if binding.body not in known else [])
        yield from (f"{binding.verb} {binding.path} names the field `{field}`, which is not there" for field in missing)


def _get_faults(method: MethodDescriptor) -> Iterator[str]:
    """A mutation is called with GET only where its policy says so, and by a further binding."""
    option = options_of(method)
    may = option is not None and option.changes_by_get
    gets = [binding for binding in bindings_of(method) if binding.verb == "GET"]
    if may and (is_read_only(method) or not gets or bindings_of(method)[0].verb == "GET"):
        yield "`changes_by_get` is for a mutation with a further binding that is a GET: drop it"
    if not (may or is_read_only(method)):
        yield from (f"GET {binding.path} has side effects" for binding in gets)


def _opens(method: MethodDescriptor) -> bool:
    option = options_of(method)
    return option is not None and option.HasField("opening")


def _opening_faults(stream: MethodPolicy, policies: Mapping[str, MethodPolicy]) -> Iterator[str]:
    """What keeps a stream from beginning with the RPC that it names."""
    opening = stream.opening
    if opening is None:
        return
    name = stream.descriptor.full_name
    if not stream.streaming or stream.read_only or stream.emits:
        yield f"{name}: only a stream has an `opening`, without NO_SIDE_EFFECTS and without an event of its own"
    if stream.descriptor.output_type.full_name not in openings.ANSWERS:
        yield f"{name}: a stream with an `opening` answers {' or '.join(openings.ANSWERS)}"
    if any(binding.verb != "POST" for binding in stream.bindings):
        yield f"{name}: a stream with an `opening` is bound to POST"
    first = policies.get(opening.path)
    if first is None:
        yield f"{name}: opening.rpc names {opening.path[1:]}, which is no RPC"
        return
    bodies = {binding.body for binding in first.bindings}
    wanted = (first.descriptor.input_type, first.access, first.permission)
    has_same = wanted == (stream.descriptor.input_type, stream.access, stream.permission)
    if not has_same or not bodies.issuperset(binding.body for binding in stream.bindings):
        yield f"{name}: has to have the request, the body and the access of {opening.path[1:]}, with which it begins"
    if first.read_only or first.on_loop or first.providers or "id" not in first.descriptor.output_type.fields_by_name:
        yield f"{name}: {opening.path[1:]} has to be a unary mutation without providers whose answer has an id"
    family = first.emits.partition(".")[0]
    for event in opening.ends_with:
        if event.partition(".")[0] != family:
            yield f"{name}: ends with `{event}`, which is no event of `{family}`"


def _collisions(methods: Iterable[MethodDescriptor]) -> Iterator[str]:
    """Two RPCs with the same HTTP method and pattern are a fault: Envoy serves neither, without an error."""
    seen: dict[tuple[str, str], str] = {}
    for method in methods:
        for binding in bindings_of(method):
            other = seen.setdefault((binding.verb, binding.pattern), method.full_name)
            if other != method.full_name:
                yield f"{method.full_name} and {other} both answer {binding.verb} {binding.pattern}"
