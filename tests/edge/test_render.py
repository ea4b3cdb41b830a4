"""What the configuration says, and what cannot be made one."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from server.extensions import POLICY
from server.gateway.contract import Contract
from server.gateway.descriptors import for_envoy, parse
from server.gateway.errors import GatewayConfigurationError
from server.gateway.lua import script
from server.gateway.render import render, validate, write
from server.settings import Settings
from tests.edge.scratch import SERVICE, add_method, scratch_file, with_file

DESCRIPTORS = files("plinth").joinpath("descriptors.binpb").read_bytes()
# Between checks of a process: while it serves, before anybody has called it, and while it does not answer.
PAUSES = ("interval", "no_traffic_interval", "unhealthy_interval")


def settings(folder: Path, **values: Any) -> Settings:
    return Settings(data_dir=folder, _env_file=None, **values)


def with_rules(*rules: http_pb2.HttpRule, request: str = "Save") -> bytes:
    file = scratch_file()
    for number, rule in enumerate(rules):
        add_method(file, f"Method{number}", request, rule)
    return with_file(DESCRIPTORS, file)


CONTENTS = (
    *("UploadAsset", "BulkUploadAssets", "UploadImage", "UploadImages"),
    *("DownloadAsset", "GetAssetContent", "GetAssetThumbnail"),
)
"""RPCs of files whose bytes come and go in pieces."""


def routes(configuration: dict[str, Any]) -> list[dict[str, Any]]:
    manager = configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    found: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


def test_rendering_touches_no_file(tmp_path: Path) -> None:
    render(settings(tmp_path / "absent"), DESCRIPTORS)
    assert not (tmp_path / "absent").exists()


def test_what_is_written(tmp_path: Path) -> None:
    path = write(settings(tmp_path))
    written = ["connect.lua", "descriptors.binpb", "edge.lua", "envoy.yaml"]
    assert sorted(each.name for each in path.parent.iterdir()) == written
    assert path.parent == tmp_path / "gateway"


def test_envoys_own_words_are_told(tmp_path: Path) -> None:
    path = tmp_path / "envoy.yaml"
    path.write_text("static_resources: {listeners: [{nope: 1}]}")
    with pytest.raises(GatewayConfigurationError, match="nope"):
        validate(settings(tmp_path), path)


def test_the_admin_interface_is_a_private_socket(tmp_path: Path) -> None:
    configuration: dict[str, Any] = render(settings(tmp_path), DESCRIPTORS)
    assert configuration["admin"]["address"] == {"pipe": {"path": f"{tmp_path}/run/envoy-admin.sock", "mode": 0o600}}


def test_a_cluster_has_an_endpoint_per_worker(tmp_path: Path) -> None:
    configuration: dict[str, Any] = render(settings(tmp_path, api_workers=3, realtime_workers=2), DESCRIPTORS)
    clusters = configuration["static_resources"]["clusters"]
    found = {
        each["name"]: [
            Path(host["endpoint"]["address"]["pipe"]["path"]).stem
            for host in each["load_assignment"]["endpoints"][0]["lb_endpoints"]
        ]
        for each in clusters
    }
    several = {"api": ["api-0", "api-1", "api-2"], "realtime": ["realtime-0", "realtime-1"]}
    assert found == several | {"agents": ["agents"]}


def test_who_drains_dies_or_comes_back_is_noticed_within_a_second(tmp_path: Path) -> None:
    """By the pauses between checks, since what they take is the machine's; tests/edge/test_resilience.py is theirs."""
    configuration: dict[str, Any] = render(settings(tmp_path), DESCRIPTORS)
    clusters = configuration["static_resources"]["clusters"]
    # Of what answers agents there is one, which nobody could be sent to instead.
    for cluster in (each for each in clusters if each["name"] != "agents"):
        (check,) = cluster["health_checks"]
        pauses = {name: float(check[name].removesuffix("s")) for name in PAUSES}
        assert pauses["interval"] == pauses["no_traffic_interval"]
        assert pauses["interval"] + pauses["unhealthy_interval"] * (check["unhealthy_threshold"] - 1) <= 1
        assert pauses["unhealthy_interval"] * check["healthy_threshold"] <= 1


def test_streams_go_to_realtime_and_everything_else_to_the_api(tmp_path: Path) -> None:
    table = routes(render(settings(tmp_path), DESCRIPTORS))
    streams = {route["match"]["path"] for route in table if route["route"]["cluster"] == "realtime"}
    assert streams == {
        *(f"/plinth.sites.v1.PageService/{name}" for name in ("WatchPages", "StreamPages")),
        *(f"/plinth.files.v1.AssetContentService/{name}" for name in CONTENTS),
        "/plinth.files.v1.AssetUploadService/AppendToAssetUpload",
        *(f"/plinth.audit.v1.AuditService/{name}" for name in ("ExportAuditEntries", "ExportAllAuditEntries")),
        *(f"/plinth.identity.v1.PrivacyService/{name}" for name in ("ExportOwnData", "ExportPerson")),
        *(f"/plinth.realtime.v1.RealtimeService/{name}" for name in ("StreamEvents", "WatchEvents")),
        *(f"/plinth.operations.v1.OperationService/{name}Operation" for name in ("Wait", "Watch", "Stream")),
        "/plinth.operations.v1.OperationService/GetOperationFile",
        "/plinth.sites.v1.SiteArchiveService/ImportSite",
        *(f"/plinth.notifications.v1.InboxService/{name}Notifications" for name in ("Stream", "Export")),
        *(f"/plinth.dictionary.v1.DictionaryTransferService/{name}Dictionary" for name in ("Import", "Export")),
    }
    assert table[-1]["match"] == {"prefix": "/"}
    assert table[-1]["route"]["cluster"] == "api"


def test_a_policy_names_its_own_timeout(tmp_path: Path) -> None:
    file = scratch_file()
    add_method(file, "Long", "Save", http_pb2.HttpRule(post="/scratch", body="*"), timeout=90)
    table = routes(render(settings(tmp_path), with_file(DESCRIPTORS, file)))
    (route,) = (each for each in table if each["match"] == {"path": f"/{SERVICE}/Long"})
    assert route["route"]["timeout"] == "90.000s"
    assert route["request_headers_to_add"][0]["header"] == {"key": "grpc-timeout", "value": "90250m"}


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        (http_pb2.HttpRule(get="/a/{name}"), http_pb2.HttpRule(get="/a/{extra}"), r"GET /a/\* .*Method0 and .*Method1"),
        (http_pb2.HttpRule(get="/a/{name=*}"), http_pb2.HttpRule(get="/a/{extra}"), r"GET /a/\*"),
        (
            http_pb2.HttpRule(get="/b", additional_bindings=[http_pb2.HttpRule(put="/c", body="*")]),
            http_pb2.HttpRule(put="/c", body="*"),
            "PUT /c",
        ),
        (
            http_pb2.HttpRule(get="/a"),
            http_pb2.HttpRule(custom=http_pb2.CustomHttpPattern(kind="GET", path="/a")),
            "GET /a",
        ),
        (
            http_pb2.HttpRule(get="/api/v1/tenants/{name}/pages"),
            http_pb2.HttpRule(get="/a"),
            "ListPages",
        ),
    ],
)  # fmt: skip
def test_two_methods_with_one_pattern_are_refused(
    tmp_path: Path, first: http_pb2.HttpRule, second: http_pb2.HttpRule, fault: str
) -> None:
    with pytest.raises(GatewayConfigurationError, match=fault):
        render(settings(tmp_path), with_rules(first, second))


@pytest.mark.parametrize(
    "others",
    [
        (http_pb2.HttpRule(get="/a/{name}"), http_pb2.HttpRule(get="/a/b")),
        (http_pb2.HttpRule(get="/a"), http_pb2.HttpRule(post="/a", body="*")),
        (http_pb2.HttpRule(get="/a:one"), http_pb2.HttpRule(get="/a:two")),
    ],
)
def test_patterns_that_differ_are_taken(tmp_path: Path, others: tuple[http_pb2.HttpRule, ...]) -> None:
    write(settings(tmp_path), with_rules(*others))


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (http_pb2.HttpRule(get="/a", response_body="name"), "response_body"),
        (http_pb2.HttpRule(get="/a/{nope}"), "nope"),
        (http_pb2.HttpRule(post="/a", body="nope"), "nope"),
        (http_pb2.HttpRule(post="/a", body="name"), "is one message"),
        (http_pb2.HttpRule(body="*"), "no pattern"),
    ],
)
def test_what_envoy_would_not_serve_is_refused(tmp_path: Path, rule: http_pb2.HttpRule, fault: str) -> None:
    with pytest.raises(GatewayConfigurationError, match=fault):
        render(settings(tmp_path), with_rules(rule))


def test_envoys_descriptors_have_head_beside_every_get_that_is_no_stream() -> None:
    for file in parse(for_envoy(DESCRIPTORS)).file:
        assert not file.HasField("source_code_info")
        for service in file.service:
            for method in service.method:
                gets, heads = patterns(method)
                is_open_ended = method.server_streaming and not method.options.Extensions[POLICY].file
                assert heads == ([] if is_open_ended else gets)


def patterns(method: descriptor_pb2.MethodDescriptorProto) -> tuple[list[str], list[str]]:
    rule = method.options.Extensions[annotations_pb2.http]
    rules = [rule, *rule.additional_bindings]
    return [each.get for each in rules if each.get], [each.custom.path for each in rules if each.custom.kind == "HEAD"]


def test_free_form_fields_are_known_by_their_message_and_not_by_their_name() -> None:
    file = scratch_file()
    add_method(file, "Save", "Save", http_pb2.HttpRule(post="/scratch", body="node"))
    text = script(Contract.read(parse(with_file(DESCRIPTORS, file))), settings(Path("x")))
    free = '{name = "freeForm", kind = "object", below = json_keys.FREE}'
    child = '["child"] = {name = "child", kind = "object", below = "plinth.scratch.v1.Node"}'
    node = f'["name"] = {{name = "name", kind = "text"}}, {child}, ["freeForm"] = {free}, ["free_form"] = {free}'
    assert f'["plinth.scratch.v1.Node"] = {{{node}}},' in text
    assert '["plinth.scratch.v1.Upload"]' not in text


def test_the_body_of_an_upload_is_not_json() -> None:
    file = scratch_file()
    add_method(file, "Upload", "Upload", http_pb2.HttpRule(post="/upload/{name}", body="content"), uploads=True)
    text = script(Contract.read(parse(with_file(DESCRIPTORS, file))), settings(Path("x")))
    upload = next(line for line in text.splitlines() if 'pattern = "/upload/*"' in line)
    assert 'shape = "google.api.HttpBody", body = "stream"' in upload


def test_enums_within_a_message_of_the_query_are_parameters_too() -> None:
    file = scratch_file()
    kinds = file.enum_type.add(name="Kind")
    kinds.value.add(name="KIND_UNSPECIFIED", number=0)
    kinds.value.add(name="KIND_ONE", number=1)
    node = next(message for message in file.message_type if message.name == "Node")
    node.field.add(
        name="node_kind", json_name="nodeKind", number=9, label=1, type=14, type_name=".plinth.scratch.v1.Kind"
    )
    add_method(file, "Save", "Save", http_pb2.HttpRule(get="/scratch"))
    text = script(Contract.read(parse(for_envoy(with_file(DESCRIPTORS, file)))), settings(Path("x")))
    enum = "plinth.scratch.v1.KindScope.Kind"
    assert f'["plinth.scratch.v1.Save"] = {{["node.nodeKind"] = "{enum}"}},' in text
    taken = '["0"] = true, ["1"] = true, ["KIND_ONE"] = true, ["KIND_UNSPECIFIED"] = true'
    assert f'["{enum}"] = {{told = "ONE", {taken}, ["ONE"] = true, ["UNSPECIFIED"] = true}},' in text
