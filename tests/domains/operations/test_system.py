"""What runs, as platform administrators see it: versions, settings without secrets, and metrics."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.parts import VERSION
from tests.clients import Rest, new_tenant, reason
from tests.domains.platform import new_platform_admin
from tests.stack import LITTLE, Stack, wait_for


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Rest:
    return Rest(stack, new_platform_admin(stack).access_token)


def test_versions_host_and_settings_are_shown(admin: Rest) -> None:
    system = admin.get("system").json()
    assert (system["version"], system["environment"]) == (VERSION, "development")
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?.*", system["databaseVersion"])
    assert system["pythonVersion"].startswith("3.")
    assert system["startTime"] < system["time"]
    host = system["host"]
    assert host["cpuCount"] >= 1
    assert len(host["loadAverages"]) == 3
    for whole, part in (("memoryBytes", "availableMemoryBytes"), ("diskBytes", "freeDiskBytes")):
        assert 0 < host[part] <= host[whole]
    settings = {each["name"]: each for each in system["settings"]}
    changed, kept = settings["PLINTH_PASSWORD_MEMORY"], settings["PLINTH_WEBHOOK_RETENTION_DAYS"]
    assert (changed["value"], changed["isDefault"], kept["isDefault"]) == (str(LITTLE), False, True)


def test_secrets_are_no_part_of_the_settings(admin: Rest, stack: Stack) -> None:
    answer = admin.get("system")
    settings = {each["name"]: each["value"] for each in answer.json()["settings"]}
    assert settings["PLINTH_SECRET_KEY"] in {"", "**********"}
    assert stack.settings.secret.decode() not in answer.text


def test_metrics_are_those_of_all_processes_and_name_no_tenant(admin: Rest, stack: Stack) -> None:
    tenant = new_tenant(stack)
    assert tenant.rest.get(f"{tenant.path}/pages").status_code == 200
    # Processes tell of their calls every few seconds.
    wait_for(lambda: "plinth_requests_total{" in admin.get("metrics").text, what="the calls")
    answer = admin.get("metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = list(text_string_to_metric_families(answer.text))
    assert {"plinth_requests", "plinth_stream_lag_seconds", "plinth_process_cpu_seconds"} <= {
        family.name for family in families
    }
    processes = {sample.labels.get("process", "") for family in families for sample in family.samples}
    assert {"api-0", "worker-0", "realtime-0"} <= processes
    assert not any("tenant" in sample.labels for family in families for sample in family.samples)
    assert tenant.id not in answer.text
    assert tenant.subdomain not in answer.text


@pytest.mark.parametrize("path", ["system", "metrics"])
def test_they_are_for_platform_administrators_alone(stack: Stack, path: str) -> None:
    tenant = new_tenant(stack)
    assert reason(tenant.rest.get(path)) == (403, "PERMISSION_MISSING")
    assert Rest(stack).get(path).status_code == 401
