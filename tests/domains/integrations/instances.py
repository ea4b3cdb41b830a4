"""How integrations are made."""

from typing import Any

from tests.clients import Tenant, unique
from tests.contract.instances import MARK, Instance, Mutation, Named, made
from tests.domains.integrations.accounts import GOOD, named, new_integration


def one_more() -> dict[str, Any]:
    """The JSON of a new one."""
    return new_integration(name=unique("Integration"))


def _integration(tenant: Tenant) -> Named:
    body = one_more() | {"description": f"{MARK}-{tenant.subdomain}"}
    found = made(tenant, "/api/v1/integrations", body)
    return {"integration_id": found["id"], "etag": found["etag"]}


INSTANCES = {"plinth.integrations.v1.Integration": Instance(_integration, one_more)}
MUTATIONS = (
    Mutation("IntegrationService/CreateIntegration"),
    Mutation("IntegrationService/UpdateIntegration", lambda _: {"updateMask": "description"}, mask=("description",)),
    Mutation("IntegrationService/ReplaceIntegrationCredentials", lambda _: {"credentials": named(GOOD["slack"])}),
    Mutation("IntegrationTestService/TestIntegration"),
    Mutation("IntegrationService/DeleteIntegration"),
)
