"""How sessions, users and API keys are made and changed."""

import base64
from typing import Any

from tests.clients import Rest, Tenant, log_in, new_address, new_member, new_password, sign_up, unique
from tests.contract.instances import LATE, MARK, PERMISSION, Instance, Mutation, Named, made
from tests.domains.identity.authenticator import Authenticator
from tests.domains.identity.issuer import PROVIDER, came_back
from tests.domains.identity.letters import INVITATION, RESET, VERIFY, token_from
from tests.domains.identity.second_factors import app_code, secured

LOG_IN = "/plinth.identity.v1.AuthService/LogIn"
REFRESH = "/plinth.identity.v1.AuthService/RefreshToken"
NEWCOMER, SOMEBODY, SECURED, PASSKEY = "a newcomer", "somebody", "somebody with a second factor", "a passkey"
START_TOTP = "/plinth.identity.v1.SecondFactorService/StartTotp"
REGISTER = "/plinth.identity.v1.PasskeyService/RegisterPasskey"
SWITCH = "/plinth.identity.v1.AuthService/SwitchTenant"


def _api_key(tenant: Tenant) -> Named:
    body = {"name": f"{MARK}-{tenant.subdomain}", "permissions": [PERMISSION]}
    return {"api_key_id": made(tenant, f"{tenant.path}/api-keys", body)["id"]}


def _newcomer(sweep: Any) -> dict[str, Any]:
    """Somebody whom nobody misses, and who may erase themselves."""
    account, sweep.answers[NEWCOMER] = new_member(sweep.tenant, "member")
    return {"password": account.password}


def _invitation(tenant: Tenant) -> Named:
    body = {"email": f"{unique(f'{MARK}-{tenant.subdomain}')}@example.com", "roles": ["viewer"]}
    made_one = made(tenant, "/api/v1/employees/invite", body)
    return {"invitation_id": made_one["id"], "etag": made_one["etag"]}


def _invited(tenant: Tenant) -> str:
    """Somebody who is invited, with a mark that others must not see."""
    body = {"email": f"{unique(f'{MARK}-{tenant.subdomain}')}@example.com", "roles": ["viewer"]}
    return str(made(tenant, "/api/v1/users", body)["id"])


def _user(tenant: Tenant) -> Named:
    """The owner, beside whom somebody is invited."""
    _invited(tenant)
    return {"user_id": tenant.owner.id}


def _employee(tenant: Tenant) -> Named:
    manager = made(tenant, "/api/v1/employees", new_employee("Somerville"))
    made_one = made(tenant, "/api/v1/employees", new_employee(f"{MARK}-{tenant.subdomain}"))
    return {"employee_id": made_one["id"], "manager_id": manager["id"], "etag": made_one["etag"]}


def new_employee(last_name: str) -> dict[str, Any]:
    """The JSON of a new employee."""
    return {"firstName": "Ada", "lastName": last_name, "department": "Workshop", "number": unique("E")}


def _of_owner(tenant: Tenant, path: str, body: dict[str, Any]) -> Named:
    """What the owner says of themselves."""
    answer = tenant.rest.patch(f"/api/v1/users/{tenant.owner.id}/{path}", body)
    assert answer.status_code == 200, answer.text
    return {"user_id": tenant.owner.id}


def _acceptance_of_terms(tenant: Tenant) -> Named:
    # With a sibling, so that a page of one has a next.
    made_one, _ = (made(tenant, "/api/v1/terms/acceptances", new_acceptance(_version(tenant))) for _ in range(2))
    return {"terms_acceptance_id": made_one["id"], "user_id": made_one["userId"]}


def _version(tenant: Tenant) -> str:
    return unique(f"{MARK}-{tenant.subdomain}")[:64]


def new_acceptance(version: str) -> dict[str, Any]:
    """The JSON of a new acceptance."""
    return {"document": "privacy", "documentVersion": version}


def _deleted_user(sweep: Any) -> dict[str, Any]:
    account = sign_up(sweep.tenant.stack)
    platform = Rest(sweep.tenant.stack, sweep.platform)
    assert platform.delete(f"users/{account.id}").status_code == 204
    return {"userId": account.id}


def _acceptance(sweep: Any) -> dict[str, Any]:
    email = new_address()
    made(sweep.tenant, "/api/v1/employees/invite", {"email": email})
    token = token_from(sweep.tenant.stack, email, INVITATION)
    return {"token": token, "password": new_password(), "firstName": "Ada"}


def _verification(sweep: Any) -> dict[str, Any]:
    account = sign_up(sweep.tenant.stack)
    return {"token": token_from(sweep.tenant.stack, account.email, VERIFY)}


def _reset(sweep: Any) -> dict[str, Any]:
    stack = sweep.tenant.stack
    account = sign_up(stack)
    assert Rest(stack).post("auth/forgot-password", {"email": account.email}).status_code == 204
    return {"token": token_from(stack, account.email, RESET), "password": new_password()}


def _somebody(sweep: Any) -> dict[str, Any]:
    """The passwords of somebody who is signed in twice."""
    account, sweep.answers[SOMEBODY] = new_member(sweep.tenant, "member")
    log_in(sweep.tenant.stack, account)
    return {"userId": "", "currentPassword": account.password, "newPassword": new_password()}


def _session(sweep: Any) -> dict[str, Any]:
    """The session itself: the last thing that is done in it."""
    rest = Rest(sweep.tenant.stack, sweep.answers[SOMEBODY].access_token)
    return {"sessionId": rest.get("auth/sessions").json()["sessions"][0]["id"]}


def _secured(sweep: Any) -> dict[str, Any]:
    """Somebody with a second factor, of whom a sign-in waits for the code."""
    user = secured(sweep.tenant.stack, new_member(sweep.tenant, "member")[0])
    sweep.answers[SECURED] = user.session
    return {"challenge": user.challenge(), "code": user.code()}


def _locked_out(sweep: Any) -> dict[str, Any]:
    """Somebody with a second factor."""
    return {"userId": secured(sweep.tenant.stack, new_member(sweep.tenant, "member")[0]).account.id}


def _confirmation(sweep: Any) -> dict[str, Any]:
    return {"code": app_code(base64.b32decode(sweep.answers[START_TOTP].secret))}


def _authenticator(tenant: Tenant) -> Authenticator:
    return Authenticator(tenant.stack.settings.api_address("localhost"))


def _passkey(sweep: Any) -> dict[str, Any]:
    """A new passkey of whoever asked for the options."""
    rest = Rest(sweep.tenant.stack, sweep.answers[SECURED].access_token)
    options = rest.get("auth/passkey-registration").json()["options"]
    sweep.answers[PASSKEY] = _authenticator(sweep.tenant)
    return {"credential": sweep.answers[PASSKEY].create(options), "name": "A key"}


def _regular(sweep: Any) -> dict[str, Any]:
    """Somebody who comes from a provider for the second time."""
    rest, email = Rest(sweep.tenant.stack), new_address()
    body = came_back(rest, "authorize", email)
    first = rest.post(f"auth/oauth/{body.pop('provider')}/callback", body)
    assert first.status_code == 200, first.text
    return came_back(rest, "authorize", email)


def _passkey_answer(sweep: Any) -> dict[str, Any]:
    options = Rest(sweep.tenant.stack).get("auth/login/passkey").json()["options"]
    return {"credential": sweep.answers[PASSKEY].get(options)}


INSTANCES = {
    "plinth.identity.v1.ApiKey": Instance(_api_key, lambda: {"name": "Planted", "permissions": [PERMISSION]}),
    "plinth.identity.v1.Invitation": Instance(_invitation, lambda: {"email": new_address(), "roles": ["viewer"]}),
    "plinth.identity.v1.Employee": Instance(_employee, lambda: new_employee(unique("Planted"))),
    "plinth.identity.v1.UserProfile": Instance(
        lambda tenant: _of_owner(tenant, "profile", {"bio": f"{MARK}-{tenant.subdomain}"}), lambda: {"bio": "Planted"}
    ),
    "plinth.identity.v1.UserPreferences": Instance(
        lambda tenant: _of_owner(tenant, "preferences", {"settings": {"mark": f"{MARK}-{tenant.subdomain}"}}),
        lambda: {"language": "ar", "timeZone": "Asia/Riyadh"},
    ),
    "plinth.identity.v1.TermsAcceptance": Instance(_acceptance_of_terms, lambda: new_acceptance(unique("v"))),
    "plinth.identity.v1.User": Instance(_user, lambda: {"email": new_address(), "roles": ["viewer"]}, alone=False),
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
    Mutation("AuthService/CompleteLogIn", _secured),
    Mutation("AuthService/StepUp", lambda sweep: {"password": sweep.tenant.owner.password}),
    Mutation("SecondFactorService/ReplaceRecoveryCodes", session=SECURED),
    Mutation("SecondFactorService/StartTotp", session=SECURED),
    Mutation("SecondFactorService/ConfirmTotp", _confirmation, session=SECURED),
    Mutation("SecondFactorService/DisableTotp", session=SECURED),
    Mutation("SecondFactorService/ResetSecondFactor", _locked_out),
    Mutation("PasskeyService/RegisterPasskey", _passkey, session=SECURED),
    Mutation(
        "PasskeyService/RenamePasskey",
        lambda sweep: {"passkeyId": sweep.answers[REGISTER].id, "name": "Another name"},
        session=SECURED,
    ),
    Mutation("PasskeyService/LogInWithPasskey", _passkey_answer),
    Mutation("FederatedIdentityService/LogInWithIdentityProvider", _regular),
    Mutation(
        "FederatedIdentityService/LinkFederatedIdentity",
        lambda sweep: came_back(Rest(sweep.tenant.stack, sweep.answers[SECURED].access_token), "link"),
        session=SECURED,
    ),
    Mutation("FederatedIdentityService/UnlinkFederatedIdentity", lambda _: {"provider": PROVIDER}, session=SECURED),
    Mutation("PasskeyService/RemovePasskey", lambda sweep: {"passkeyId": sweep.answers[REGISTER].id}, session=SECURED),
    Mutation("InvitationService/CreateInvitation"),
    Mutation("InvitationService/ResendInvitation"),
    Mutation("InvitationService/AcceptInvitation", _acceptance),
    Mutation("InvitationService/DeleteInvitation"),
    Mutation("AccountService/VerifyEmail", _verification),
    Mutation("AccountService/ResendVerification", lambda sweep: {"email": sweep.tenant.owner.email}),
    Mutation("AccountService/ForgotPassword", lambda sweep: {"email": sweep.tenant.owner.email}),
    Mutation("AccountService/ResetPassword", _reset),
    Mutation("AccountService/ChangePassword", _somebody, session=SOMEBODY),
    Mutation("AccountService/UpdateOwnProfile", lambda _: {"firstName": unique("Ada")}, session=SOMEBODY),
    Mutation("AccountService/RevokeOtherSessions", session=SOMEBODY),
    Mutation("AccountService/RevokeSession", _session, session=SOMEBODY),
    Mutation("UserService/CreateUser"),
    Mutation(
        "UserService/UpdateUser",
        lambda sweep: {
            "userId": _invited(sweep.tenant),
            "user": {"firstName": unique("Ada")},
            "updateMask": "firstName",
        },
    ),
    Mutation("UserService/DeleteUser", lambda sweep: {"userId": _invited(sweep.tenant)}),
    Mutation("UserService/UndeleteUser", _deleted_user),
    Mutation("EmployeeService/CreateEmployee"),
    Mutation("EmployeeService/UpdateEmployee", lambda _: {"updateMask": "lastName"}, mask=("last_name",)),
    Mutation("EmployeeService/DeleteEmployee"),
    Mutation("EmployeeService/UndeleteEmployee", before="DeleteEmployee"),
    Mutation("UserProfileService/UpdateUserProfile"),
    Mutation("UserPreferencesService/UpdateUserPreferences"),
    Mutation("TermsAcceptanceService/CreateTermsAcceptance"),
    Mutation("PrivacyService/EraseOwnData", _newcomer, session=NEWCOMER),
    Mutation("PrivacyService/ErasePerson", lambda sweep: {"userId": new_member(sweep.tenant, "member")[0].id}),
    Mutation("AuthService/LogOut", session=SWITCH, stage=LATE),
)
