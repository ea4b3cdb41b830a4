"""Server reflection as a client sees it that has none of our files: everything that is listed can be described."""

from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_reflection.v1alpha.reflection_pb2 import (
    ExtensionRequest,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from tests.contract.contract import real
from tests.stack import Stack

VERSIONS = ("v1", "v1alpha")
OTHERS = {"grpc.health.v1.Health", *(f"grpc.reflection.{version}.ServerReflection" for version in VERSIONS)}
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]
GET_PAGE = "plinth.sites.v1.PageService.GetPage"


class Reflection:
    """The protocol, of one version. The messages are the same in both."""

    def __init__(self, channel: grpc.Channel, version: str) -> None:
        self.channel = channel
        path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        self._ask: Any = channel.stream_stream(
            path, ServerReflectionRequest.SerializeToString, ServerReflectionResponse.FromString
        )

    def ask_all(self, requests: Iterable[ServerReflectionRequest]) -> list[ServerReflectionResponse]:
        """One answer to each, all over one stream."""
        asked = list(requests)
        answers = list(self._ask(iter(asked), timeout=30))
        assert [answer.original_request for answer in answers] == asked
        return answers

    def ask(self, **question: Any) -> ServerReflectionResponse:
        """One answer."""
        return self.ask_all([ServerReflectionRequest(**question)])[0]

    def services(self) -> list[str]:
        """The names of what is listed."""
        return [service.name for service in self.ask(list_services="").list_services_response.service]

    def files(self) -> dict[str, FileDescriptorProto]:
        """The files of all services that are listed, with all that they import, by name."""
        symbols = [ServerReflectionRequest(file_containing_symbol=name) for name in self.services()]
        found = {file.name: file for answer in self.ask_all(symbols) for file in files_of(answer)}
        missing = {name for file in found.values() for name in file.dependency} - found.keys()
        assert not missing, "files came without what they import"
        return found


@pytest.fixture(params=VERSIONS)
def foreign(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Reflection]:
    with grpc.insecure_channel(stack.target) as channel:
        yield Reflection(channel, request.param)


def files_of(answer: ServerReflectionResponse) -> list[FileDescriptorProto]:
    """The files of an answer, the one that was asked for first."""
    assert answer.WhichOneof("message_response") == "file_descriptor_response", answer
    return [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]


def pool_of(files: dict[str, FileDescriptorProto]) -> DescriptorPool:
    """A pool of files that are given in any order."""
    pool = DescriptorPool()
    added: set[str] = set()

    def add(file: FileDescriptorProto) -> None:
        if file.name not in added:
            added.add(file.name)
            for name in file.dependency:
                add(files[name])
            pool.AddSerializedFile(file.SerializeToString())

    for file in files.values():
        add(file)
    return pool


def symbols_of(file: FileDescriptorProto) -> Iterator[str]:
    """Everything in a file that has a full name."""
    for service in file.service:
        name = f"{file.package}.{service.name}"
        yield name
        yield from (f"{name}.{method.name}" for method in service.method)
    for extension in file.extension:
        yield f"{file.package}.{extension.name}"
    for enum in file.enum_type:
        yield from _of_enum(file.package, enum)
    for message in file.message_type:
        yield from _of_message(file.package, message)


def _of_enum(scope: str, enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"{scope}.{enum.name}"
    yield from (f"{scope}.{value.name}" for value in enum.value)


def _of_message(scope: str, message: DescriptorProto) -> Iterator[str]:
    name = f"{scope}.{message.name}"
    yield name
    for parts in (message.field, message.oneof_decl, message.extension):
        yield from (f"{name}.{part.name}" for part in parts)
    for enum in message.enum_type:
        yield from _of_enum(name, enum)
    for nested in message.nested_type:
        yield from _of_message(name, nested)


def dynamic_call(channel: grpc.Channel, pool: DescriptorPool, method: str, **fields: Any) -> Any:
    """Call an RPC, given its full name, with messages made of nothing but the files of a pool."""
    found: Any = pool.FindMethodByName(method)
    answer: Any = GetMessageClass(found.output_type)
    path = f"/{found.containing_service.full_name}/{found.name}"
    call: Any = channel.unary_unary(path, lambda message: message.SerializeToString(), answer.FromString)
    return call(GetMessageClass(found.input_type)(**fields), timeout=10)


def test_what_is_served_is_listed(foreign: Reflection) -> None:
    assert set(foreign.services()) == {service.full_name for service in real().services} | OTHERS


def test_every_symbol_of_what_is_listed_is_found_in_its_file(foreign: Reflection) -> None:
    # What the files of others hold is looked at where something of ours needs it: their files come with ours.
    files = [file for file in foreign.files().values() if file.package.startswith(("plinth.", "grpc."))]
    expected = [(symbol, file.name) for file in files for symbol in symbols_of(file)]
    assert (GET_PAGE, "plinth/sites/v1/page.proto") in expected
    answers = foreign.ask_all(ServerReflectionRequest(file_containing_symbol=symbol) for symbol, _ in expected)
    assert [
        (symbol, files_of(answer)[0].name) for (symbol, _), answer in zip(expected, answers, strict=True)
    ] == expected


def test_every_file_is_found_by_its_name(foreign: Reflection) -> None:
    files = foreign.files()
    assert any(file.startswith("google/") for file in files)
    answers = foreign.ask_all(ServerReflectionRequest(file_by_filename=name) for name in files)
    assert [files_of(answer)[0] for answer in answers] == list(files.values())


def test_every_extension_is_found_by_its_number(foreign: Reflection) -> None:
    extensions = [(file.name, field) for file in foreign.files().values() for field in file.extension]
    assert "plinth/policy/v1/policy.proto" in {name for name, _ in extensions}
    for name, field in extensions:
        extended = field.extendee.removeprefix(".")
        where = ExtensionRequest(containing_type=extended, extension_number=field.number)
        assert files_of(foreign.ask(file_containing_extension=where))[0].name == name
        numbers = foreign.ask(all_extension_numbers_of_type=extended).all_extension_numbers_response
        assert numbers.base_type_name == extended
        assert field.number in numbers.extension_number


def test_calls_are_made_with_nothing_but_what_reflection_tells(foreign: Reflection) -> None:
    pool = pool_of(foreign.files())
    health = dynamic_call(foreign.channel, pool, "plinth.operations.v1.HealthService.GetHealth")
    assert health.DESCRIPTOR.full_name == "plinth.operations.v1.Health"
    probe = dynamic_call(foreign.channel, pool, "grpc.health.v1.Health.Check", service="plinth.sites.v1.PageService")
    assert probe.status == probe.DESCRIPTOR.enum_types_by_name["ServingStatus"].values_by_name["SERVING"].number
    with pytest.raises(grpc.RpcError) as refused:
        dynamic_call(foreign.channel, pool, GET_PAGE, tenant_id="x")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("version", VERSIONS)
def test_reflection_describes_itself(foreign: Reflection, version: str) -> None:
    """The messages that it tells of are those that it is asked in."""
    method: Any = pool_of(foreign.files()).FindMethodByName(
        f"grpc.reflection.{version}.ServerReflection.ServerReflectionInfo"
    )
    ask: Any = foreign.channel.stream_stream(
        f"/{method.containing_service.full_name}/{method.name}",
        lambda message: message.SerializeToString(),
        GetMessageClass(method.output_type).FromString,
    )
    answers = list(ask(iter([GetMessageClass(method.input_type)(list_services="")]), timeout=10))
    assert {service.name for service in answers[0].list_services_response.service} >= OTHERS


@pytest.mark.parametrize(
    "question",
    [
        {"file_by_filename": "plinth/sites/v1/nothing.proto"},
        {"file_containing_symbol": "plinth.sites.v1.Nothing"},
        {"file_containing_symbol": "plinth.sites.v1.PageService.Nothing"},
        {"file_containing_symbol": ""},
        {"file_containing_extension": ExtensionRequest(containing_type="plinth.sites.v1.Page", extension_number=1)},
        {"file_containing_extension": ExtensionRequest(containing_type="plinth.sites.v1.Nothing", extension_number=1)},
        {"all_extension_numbers_of_type": "plinth.sites.v1.Nothing"},
    ],
    ids=str,
)
def test_what_is_not_there_is_an_answer_and_the_stream_goes_on(foreign: Reflection, question: dict[str, Any]) -> None:
    wrong, right = foreign.ask_all(
        [ServerReflectionRequest(**question), ServerReflectionRequest(file_containing_symbol=GET_PAGE)]
    )
    assert wrong.error_response.error_code == NOT_FOUND
    assert wrong.error_response.error_message
    assert files_of(right)


def test_a_question_that_asks_nothing_is_refused_and_the_stream_goes_on(foreign: Reflection) -> None:
    wrong, right = foreign.ask_all(
        [ServerReflectionRequest(), ServerReflectionRequest(file_containing_symbol=GET_PAGE)]
    )
    assert wrong.error_response.error_code == INVALID_ARGUMENT
    assert files_of(right)


def test_the_client_of_grpcio_finds_what_it_needs(stack: Stack) -> None:
    with grpc.insecure_channel(stack.target) as channel:
        database: Any = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        for name in database.get_services():
            service: Any = pool.FindServiceByName(name)
            assert service.methods
        dynamic_call(channel, pool, "plinth.operations.v1.HealthService.GetHealth")
