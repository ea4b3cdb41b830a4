"""A double of the services that there are integrations with: each checks credentials and headers as the real one does.

Its paths begin with the key of the template. What it takes is below; any other credential of the right form is refused.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from server.domains.integrations.templates import TEMPLATES
from tests.providers.double import Double, Received, Reply

SID = "AC" + "0123456789abcdef" * 2
GOOD: Mapping[str, Mapping[str, str]] = {
    "github": {"access_token": "ghp_" + "G00d" * 9},
    "hubspot": {"access_token": "pat-na1-00000000-0000-4000-8000-000000000001"},
    "mailgun": {"api_key": "key-" + "9ood" * 8},
    "notion": {"token": "ntn_" + "G00d" * 10},
    "openai": {"api_key": "sk-proj-" + "G00d" * 10},
    "sendgrid": {"api_key": "SG." + "G00d" * 12},
    "slack": {"bot_token": "xoxb-" + "900d" * 6},
    "stripe": {"api_key": "rk_test_" + "G00d" * 6},
    "telegram": {"bot_token": "123456789:" + "G00d" * 9},
    "twilio": {"auth_token": "G00d" * 8},
}
"""The credentials that the services take."""
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "mailgun": {"domain": "mg.example.com", "region": "eu"},
    "twilio": {"account_sid": SID},
}
ACCOUNTS = {
    "github": "octo-workshop",
    "hubspot": "62515",
    "mailgun": "mg.example.com",
    "notion": "Workshop",
    "openai": "",
    "sendgrid": "",
    "slack": "Workshop",
    "stripe": "Workshop Ltd",
    "telegram": "workshop_bot",
    "twilio": "Workshop",
}
"""What each says of the account."""
PATHS = {
    "github": "/user",
    "hubspot": "/account-info/v3/details",
    "mailgun": "/v4/domains/mg.example.com",
    "notion": "/v1/users/me",
    "openai": "/v1/models",
    "sendgrid": "/v3/scopes",
    "slack": "/api/auth.test",
    "stripe": "/v1/account",
    "telegram": f"/bot{GOOD['telegram']['bot_token']}/getMe",
    "twilio": f"/2010-04-01/Accounts/{SID}.json",
}
ANSWERS: Mapping[str, Any] = {
    "github": {"login": "octo-workshop", "id": 1},
    "hubspot": {"portalId": 62515, "timeZone": "US/Eastern"},
    "mailgun": {"domain": {"name": "mg.example.com", "state": "active"}},
    "notion": {"object": "user", "name": "Robot", "bot": {"workspace_name": "Workshop"}},
    "openai": {"object": "list", "data": []},
    "sendgrid": {"scopes": ["mail.send"]},
    "slack": {"ok": True, "team": "Workshop", "user": "bot"},
    "stripe": {
        "id": "acct_1",
        "business_profile": {"name": None},
        "settings": {"dashboard": {"display_name": "Workshop Ltd"}},
    },
    "telegram": {"ok": True, "result": {"id": 1, "is_bot": True, "username": "workshop_bot"}},
    "twilio": {"sid": SID, "friendly_name": "Workshop", "status": "active"},
}
NEEDED = {
    "github": {"x-github-api-version": "2022-11-28", "accept": "application/vnd.github+json"},
    "notion": {"notion-version": "2022-06-28"},
}
BASIC = {"mailgun": "api", "twilio": SID}
SAYS_NO_WITH_200 = {"slack": {"ok": False, "error": "invalid_auth"}}


class Accounts(Double):
    """The services."""

    @property
    def settings(self) -> dict[str, str]:
        """Those of a stack whose integrations are tested here."""
        return {"integration_base_urls": json.dumps({key: f"{self.url}/{key}" for key in TEMPLATES})}

    def reply(self, request: Received) -> Reply:
        """Who the caller is, or a refusal in the form of the service."""
        key = request.path.split("/")[1]
        # GitHub refuses programs without a name.
        if not request.headers.get("user-agent", "").startswith("Plinth"):
            return Reply.of(403, {"message": "name yourself"})
        if any(request.headers.get(name) != value for name, value in NEEDED.get(key, {}).items()):
            return Reply.of(400, {"message": "a header is missing"})
        if request.path == f"/{key}{PATHS[key]}" and self._is_known(key, request):
            return Reply.of(200, ANSWERS[key])
        return Reply.of(200, SAYS_NO_WITH_200[key]) if key in SAYS_NO_WITH_200 else Reply.of(401, {"message": "no"})

    def _is_known(self, key: str, request: Received) -> bool:
        (secret,) = GOOD[key].values()
        given = request.headers.get("authorization", "")
        if key == "telegram":
            return not given
        if key in BASIC:
            return given == f"Basic {base64.b64encode(f'{BASIC[key]}:{secret}'.encode()).decode()}"
        return given == f"Bearer {secret}"


def named(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Options or credentials, as JSON has them."""
    return [{"name": name, "value": value} for name, value in values.items()]


def new_integration(key: str = "slack", **fields: Any) -> dict[str, Any]:
    """The JSON of a new one whose credentials are taken; its name has to be given."""
    return {
        "template": key,
        "options": named(OPTIONS.get(key, {})),
        "credentials": named(GOOD[key]),
    } | fields
