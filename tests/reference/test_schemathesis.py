"""Schemathesis calls the live stack as the OpenAPI document tells: examples, edges, fuzzing, and chains of calls.

Everything that it finds is a fault of the server or of the document. It is seeded, and what it makes is bounded.
"""

import json
import re
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from server import app
from server.reference.naming import operation_id
from tests.clients import Tenant, new_tenant
from tests.stack import Stack

COMMAND = Path(sysconfig.get_path("scripts")) / "schemathesis"
LONGEST = 900.0
UPLOADS = (
    *("AssetContentService.UploadAsset", "AssetContentService.BulkUploadAssets"),
    *("AssetContentService.UploadImage", "AssetContentService.UploadImages", "AssetUploadService.AppendToAssetUpload"),
    "SiteArchiveService.ImportSite",
    "DictionaryTransferService.ImportDictionary",
)
REQUEST_ID = re.compile(r'"requestId":"([^"]+)"')
LOUD = ('"level":"WARNING"', '"level":"ERROR"', '"level":"CRITICAL"')
MOST_LINES = 100
# Operations that nobody calls here, each with the reason.
EXCLUDED = {
    "AuthService.LogOut": "ends the session of all other calls",
    "AccountService.RevokeSession": "ends the session of all other calls",
    "AccountService.RevokeSession.1": "ends the session of all other calls",
    "AccountService.RevokeOtherSessions": "ends the sessions of other tests' calls",
    "AuthService.SwitchTenant": "ends the access token of all other calls",
    "TenantService.DeleteTenant": "ends the tenant of all other calls",
    "PrivacyService.EraseOwnData": "ends the account of all other calls",
    "PrivacyService.EraseOwnData.1": "ends the account of all other calls",
    "PrivacyService.ErasePerson": "ends the account of all other calls: the caller is the only member",
    "EmailReportService.ReceiveEmailReport": "its body is a mail, which Schemathesis cannot make",
    **dict.fromkeys(UPLOADS, "its body is a file, which Schemathesis cannot make"),
    "RealtimeService.StreamEvents": "a stream, which its caller ends",
    "PageService.StreamPages": "a stream, which its caller ends",
    "OperationService.StreamOperation": "a stream, which its caller ends",
    "InboxService.StreamNotifications": "a stream, which its caller ends",
}
# Operations whose errors have the JSON of somebody else's protocol, or are pages for people.
OTHERWISE = (
    "FlagEvaluationService.EvaluateFlag",
    "UnsubscribeService.GetUnsubscribePage",
    "UnsubscribeService.Unsubscribe",
    "PublishedSiteService.ShowPublishedPage",
)
SETTINGS = """
seed = 1
continue-on-failure = true
request-timeout = 30.0
hooks = "tests.reference.schemathesis_checks"
cache.enabled = false
headers = {{ Authorization = "Bearer {token}" }}

[parameters]
# Every call needs its own tenant's id; that of another one is refused, which the tenant wall tests.
"path.tenantId" = "{tenant}"
# What is created or deleted on trial is not there or still there afterwards, which its checks take for faults.
"header.X-Validate-Only" = "false"

[generation]
deterministic = true
database = "none"
max-examples = 4
with-security-parameters = false

[checks]
# The check refuses_what_is_no_message stands in its place: it knows the other spellings of proto3's JSON.
negative_data_rejection.enabled = false
# Rules that no schema has are 422, and languages of their own 400: takes_what_the_document_allows tells them apart.
positive_data_acceptance.expected-statuses = ["2xx", "304", "400", "401", "403", "404", "409", "412", "422"]

[phases.coverage]
# Envoy refuses methods that RFC 9110 does not have before it knows their path, with 400.
unexpected-methods = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"]

[phases.stateful]
max-steps = 6
generation.max-examples = 30
"""


def settings_of(tenant: Tenant) -> str:
    """The configuration of Schemathesis (TOML)."""
    overlapping = sorted(overlapping_operations() - EXCLUDED.keys())
    return "\n".join(
        [
            SETTINGS.format(token=tenant.access_token, tenant=tenant.id),
            *_operations(EXCLUDED, "enabled = false"),
            *_operations(OTHERWISE, "checks.response_schema_conformance.enabled = false"),
            *_operations(OTHERWISE, "checks.content_type_conformance.enabled = false"),
            *_operations(overlapping, "checks.allow_header_conformance.enabled = false"),
            *_operations(overlapping, "checks.unsupported_method.enabled = false"),
            *_operations(sorted(further_bindings() - EXCLUDED.keys()), "phases.coverage.enabled = false"),
        ]
    )


def overlapping_operations() -> set[str]:
    """The operations whose path another one with a variable matches too, so that its methods are answered there."""
    bindings = [(method, binding) for method in app.policies().values() for binding in method.bindings]
    paths = {tuple(binding.path.split("/")) for _, binding in bindings}
    return {
        operation_id(method, binding)
        for method, binding in bindings
        if any(_matches(other, tuple(binding.path.split("/"))) for other in paths)
    }


def _matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Whether another pattern, which has variables in place of some segments of a path, matches it."""
    if len(pattern) != len(path):
        return False
    differing = [one for one, other in zip(pattern, path, strict=True) if one != other]
    return bool(differing) and all(one.startswith("{") for one in differing) and _literals(pattern) < _literals(path)


def _literals(path: tuple[str, ...]) -> int:
    return sum(not segment.startswith("{") for segment in path)


def further_bindings() -> set[str]:
    """The operations of RPCs that have another path as well: edges of the same request are tried at the first."""
    methods = app.policies().values()
    return {operation_id(method, binding) for method in methods for binding in method.bindings[1:]}


def _operations(names: Iterable[str], setting: str) -> list[str]:
    return [f'[[operations]]\ninclude-operation-id = "{name}"\n{setting}\n' for name in names]


def run(tenant: Tenant, folder: Path, *phases: str) -> tuple[Mapping[str, Any], str]:
    """What Schemathesis reports of the phases, and what it printed."""
    config, report = folder / "schemathesis.toml", folder / "report.json"
    config.write_text(settings_of(tenant))
    done = subprocess.run(
        [
            *(COMMAND, "--no-color", "--config-file", config, "run", f"{tenant.stack.url}/api/v1/openapi.json"),
            *("--phases", ",".join(phases), "--report", "json", "--report-json-path", report),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert report.exists(), done.stdout + done.stderr
    return json.loads(report.read_text()), done.stdout


@pytest.mark.heavy
@pytest.mark.timeout(LONGEST + 60)
def test_the_stack_does_what_the_document_tells(stack: Stack, tmp_path: Path) -> None:
    report, output = run(new_tenant(stack), tmp_path, "examples", "coverage", "fuzzing", "stateful")
    assert report["failures"] == [], _explained(stack, output)
    assert report["errors"] == [], output
    assert {phase["status"] for phase in report["phases"].values()} == {"success"}, output
    assert report["operations"]["total"] - report["operations"]["tested"] == len(EXCLUDED)


def _explained(stack: Stack, output: str) -> str:
    """What Schemathesis printed, what the logs tell of the calls that failed, and where the stack's threads are now.

    A call that failed by chance is not found again by another run.
    """
    words = [*REQUEST_ID.findall(output), *LOUD]
    return "\n".join([output, *stack.log_lines(words)[-MOST_LINES:], stack.whereabouts()])
