"""Typed clients of contracts that the repository does not have: names that collide, versions, uploads."""

import ast
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from plinth.client import AsyncPlinth, Plinth
from plinth.services import AsyncServices, Services

from clients.typed_clients import Contract, UnknownShapeError, snake, write_clients
from server.modules import services

TEXT, MESSAGE = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_MESSAGE


def field(name: str, message: str = "", *, repeated: bool = False) -> FieldDescriptorProto:
    return FieldDescriptorProto(
        name=name,
        type=MESSAGE if message else TEXT,
        type_name=message,
        label=FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL,
    )


def file(package: str, name: str, *methods: MethodDescriptorProto) -> FileDescriptorProto:
    """A proto with a resource and its service, whose methods take and answer `In` and `Out`."""
    item = f".{package}.{name}"
    return FileDescriptorProto(
        name=f"{package.replace('.', '/')}/{name.lower()}.proto",
        package=package,
        message_type=[
            DescriptorProto(name=name),
            DescriptorProto(name="In", field=[field("page_token"), field("last_event_id")]),
            DescriptorProto(name="Out", field=[field("leaves", item, repeated=True), field("next_page_token")]),
        ],
        service=[ServiceDescriptorProto(name=f"{name}Service", method=methods)],
    )


def method(package: str, name: str, *, sends: bool = False, receives: bool = False) -> MethodDescriptorProto:
    return MethodDescriptorProto(
        name=name,
        input_type=f".{package}.In",
        output_type=f".{package}.Out",
        client_streaming=sends,
        server_streaming=receives,
    )


def attributes(*files: FileDescriptorProto) -> dict[str, str]:
    found = Contract(FileDescriptorSet(file=files)).attributes()
    return {name: service.file.package for name, service in found.items()}


def test_a_service_is_named_for_what_it_lists() -> None:
    listing = file("plinth.trees.v1", "Leaf", method("plinth.trees.v1", "ListLeaves"))
    assert attributes(listing) == {"leaves": "plinth.trees.v1"}
    assert attributes(file("plinth.trees.v1", "Leaf", method("plinth.trees.v1", "Fall"))) == {"leaf": "plinth.trees.v1"}


def test_services_of_one_name_are_told_apart() -> None:
    packages = ("plinth.trees.v1", "plinth.books.v1", "plinth.books.v2")
    files = [file(package, "Leaf", method(package, "Fall")) for package in packages]
    assert attributes(*files) == dict(zip(("trees_leaf", "books_leaf", "books_leaf_v2"), packages, strict=True))
    assert set(attributes(*files[1:])) == {"leaf", "leaf_v2"}


def test_every_shape_of_rpc_has_a_method(tmp_path: Path) -> None:
    package = "plinth.trees.v1"
    (tmp_path / "plinth" / "trees" / "v1").mkdir(parents=True)
    methods = [
        method(package, "ListLeaves"),
        method(package, "Send", sends=True),
        method(package, "Watch", receives=True),
        method(package, "Import"),
    ]
    write_clients(FileDescriptorSet(file=[file(package, "Leaf", *methods)]), tmp_path)
    text = (tmp_path / "plinth/trees/v1/leaf_client.py").read_text()
    made = [line.split("(")[0].strip() for line in text.splitlines() if line.startswith("        self.")]
    assert made[:4] == [
        "self.list_leaves = _sync.PagedMethod",
        "self.send = _sync.UploadMethod",
        "self.watch = _sync.EventsMethod",
        "self.import_ = _sync.PagedMethod",
    ]
    assert [line.replace("_aio.Async", "_sync.") for line in made[4:]] == made[:4]
    ast.parse(text)
    both = FileDescriptorSet(file=[file(package, "Leaf", method(package, "Talk", sends=True, receives=True))])
    with pytest.raises(UnknownShapeError, match="Talk streams both ways"):
        write_clients(both, tmp_path)


def test_names_are_those_of_python() -> None:
    names = {"ListIpBlocks": "list_ip_blocks", "GetOpenApiDocument": "get_open_api_document", "GetURLOf": "get_url_of"}
    assert {name: snake(name) for name in names} == names
    assert snake("Import") == "import_"


def test_the_client_has_every_rpc_of_the_contract() -> None:
    for kind, made in ((Services, Plinth("http://host")), (AsyncServices, AsyncPlinth("http://host"))):
        names = [name for name in vars(kind) if not name.startswith("_")]
        assert len(names) == len(list(services()))
        # Nothing of the client itself hides a service.
        assert not set(names) & set(vars(type(made)))
        of_python = [getattr(made, name) for name in names]
        for service in services():
            (found,) = [
                each for each in of_python if type(each).__name__.removeprefix("Async") == service.descriptor.name
            ]
            assert {snake(each.name) for each in service.descriptor.methods} == {
                name for name in vars(found) if not name.startswith("_")
            }
