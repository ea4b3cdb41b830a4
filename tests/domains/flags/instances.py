"""How flags are made."""

from typing import Any

from tests.clients import Tenant, unique
from tests.contract.instances import MARK, Instance, Mutation, Named, made


def new_flag(**fields: Any) -> dict[str, Any]:
    """The JSON of a new flag, which is off."""
    return {"key": unique("flag")} | fields


def object_flag() -> dict[str, Any]:
    """The JSON of one whose values are objects."""
    variants = [{"name": "it", "value": {"planted": True}}]
    serving = {"variant": "it"}
    return new_flag(kind="KIND_OBJECT", variants=variants, offVariant="it", defaultServing=serving)


def _flag(tenant: Tenant) -> Named:
    flag = made(tenant, "/api/v1/feature-flags", object_flag() | {"description": f"{MARK}-{tenant.subdomain}"})
    return {"feature_flag_id": flag["id"], "etag": flag["etag"], "key": flag["key"]}


INSTANCES = {"plinth.flags.v1.FeatureFlag": Instance(_flag, object_flag)}
MUTATIONS = (
    Mutation("FeatureFlagService/CreateFeatureFlag"),
    Mutation("FeatureFlagService/UpdateFeatureFlag", lambda _: {"updateMask": "description"}, mask=("description",)),
    Mutation("FeatureFlagService/DeleteFeatureFlag"),
)
