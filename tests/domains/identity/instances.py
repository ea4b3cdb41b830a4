"""How sessions, users and API keys are made and changed."""

from typing import Any

from tests.clients import Tenant, new_address, new_member, new_password
from tests.contract.instances import LATE, MARK, PERMISSION, Instance, Mutation, Named, made

LOG_IN = "/plinth.identity.v1.AuthService/LogIn"
REFRESH = "/plinth.identity.v1.AuthService/RefreshToken"
NEWCOMER = "a newcomer"
SWITCH = "/plinth.identity.v1.AuthService/SwitchTenant"


def _api_key(tenant: Tenant) -> Named:
    body = {"name": f"{MARK}-{tenant.subdomain}", "permissions": [PERMISSION]}
    return {"api_key_id": made(tenant, f"{tenant.path}/api-keys", body)["id"]}


def _newcomer(sweep: Any) -> dict[str, Any]:
    """Somebody whom nobody misses, and who may erase themselves."""
    account, sweep.answers[NEWCOMER] = new_member(sweep.tenant, "member")
    return {"password": account.password}


INSTANCES = {
    "plinth.identity.v1.ApiKey": Instance(_api_key, lambda: {"name": "Planted", "permissions": [PERMISSION]}),
    "plinth.identity.v1.User": Instance(lambda tenant: {"user_id": tenant.owner.id}),
}
MUTATIONS = (
    Mutation("ApiKeyService/CreateApiKey"),
    Mutation("ApiKeyService/RotateApiKey"),
    Mutation("ApiKeyService/RevokeApiKey"),
    Mutation("AuthService/SignUp", lambda _: {"email": new_address(), "password": new_password(), "firstName": "Ada"}),
    Mutation(
        "AuthService/LogIn",
        lambda sweep: {"email": sweep.tenant.owner.email, "password": sweep.tenant.owner.password},
    ),
    Mutation("AuthService/RefreshToken", lambda sweep: {"refreshToken": sweep.answers[LOG_IN].refresh_token}),
    Mutation("AuthService/SwitchTenant", session=REFRESH),
    Mutation("PrivacyService/EraseOwnData", _newcomer, session=NEWCOMER),
    Mutation("PrivacyService/ErasePerson", lambda sweep: {"userId": new_member(sweep.tenant, "member")[0].id}),
    Mutation("AuthService/LogOut", session=SWITCH, stage=LATE),
)
