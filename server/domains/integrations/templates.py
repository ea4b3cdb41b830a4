"""Templates: what there are integrations with, what each of them needs, and how it is tested.

A test asks the service who the caller is, which changes nothing there. The sources are the services' own references,
named in `documentation_url`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Values = Mapping[str, str]
"""Options and credentials, by name."""


@dataclass(frozen=True, slots=True)
class Field:
    """An option or a credential."""

    name: str
    description: str
    pattern: str
    """A regular expression that both RE2 and Python take. Empty for any value in one line."""
    example: str
    required: bool = True

    def fits(self, value: str) -> bool:
        """Whether a value is of the right form. None of them has a line end, which would end a header."""
        return value.isprintable() and (not self.pattern or re.fullmatch(self.pattern, value) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a test asks: `GET <base_url><path>`. Braces in it stand for values."""

    base_url: str
    path: str
    bearer: str = ""
    basic: tuple[str, str] = ("", "")
    headers: Mapping[str, str] = field(default_factory=dict)
    refusal: tuple[str, str] = ("", "")
    """A field of the answer that is false where the service refuses with status 200, and the field that says why."""
    account: tuple[tuple[str, ...], ...] = ()
    """Where the answer says whose account it is: the first of these paths that has something."""
    base_urls: Mapping[str, str] = field(default_factory=dict)
    """Other base URLs, by the option `region`."""

    def base_for(self, values: Values) -> str:
        """The base URL for an integration."""
        return self.base_urls.get(values.get("region", ""), self.base_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What an integration needs."""

    key: str
    display_name: str
    description: str
    documentation_url: str
    credentials: tuple[Field, ...]
    options: tuple[Field, ...] = ()
    probe: Probe


def _token(name: str, description: str, pattern: str, example: str) -> tuple[Field, ...]:
    return (Field(name, description, pattern, example),)


_TEMPLATES = (
    Template(
        key="github",
        display_name="GitHub",
        description="Repositories, issues and workflows of an account.",
        documentation_url="https://docs.github.com/en/rest/users/users",
        credentials=_token(
            "access_token", "A personal access token, or that of an app.", r"[A-Za-z0-9_]{20,255}", "ghp_" + "x" * 36
        ),
        probe=Probe(
            base_url="https://api.github.com",
            path="/user",
            bearer="{access_token}",
            headers={"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"},
            account=(("login",),),
        ),
    ),
    Template(
        key="hubspot",
        display_name="HubSpot",
        description="Contacts, companies and deals.",
        documentation_url="https://developers.hubspot.com/docs/api/settings/account-information-api",
        credentials=_token(
            "access_token",
            "The access token of a private app.",
            r"[A-Za-z0-9-]{20,255}",
            "pat-na1-00000000-0000-0000-0000-000000000000",
        ),
        probe=Probe(
            base_url="https://api.hubapi.com",
            path="/account-info/v3/details",
            bearer="{access_token}",
            account=(("portalId",),),
        ),
    ),
    Template(
        key="mailgun",
        display_name="Mailgun",
        description="Mail of a domain.",
        documentation_url="https://documentation.mailgun.com/docs/mailgun/api-reference",
        credentials=_token(
            "api_key", "A key of the account, or of the domain.", r"[A-Za-z0-9-]{16,128}", "key-" + "0" * 32
        ),
        options=(
            Field(
                "domain",
                "The domain that mail is sent from.",
                r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,8}",
                "mg.example.com",
            ),
            Field("region", "`us` or `eu`, where the domain is kept. Default `us`.", "us|eu", "eu", required=False),
        ),
        probe=Probe(
            base_url="https://api.mailgun.net",
            base_urls={"eu": "https://api.eu.mailgun.net"},
            path="/v4/domains/{domain}",
            basic=("api", "{api_key}"),
            account=(("domain", "name"),),
        ),
    ),
    Template(
        key="notion",
        display_name="Notion",
        description="Pages and databases of a workspace.",
        documentation_url="https://developers.notion.com/reference/get-self",
        credentials=_token(
            "token", "The secret of an internal connection.", r"[A-Za-z0-9_]{20,255}", "ntn_" + "0" * 46
        ),
        probe=Probe(
            base_url="https://api.notion.com",
            path="/v1/users/me",
            bearer="{token}",
            headers={"notion-version": "2022-06-28"},
            account=(("bot", "workspace_name"), ("name",)),
        ),
    ),
    Template(
        key="openai",
        display_name="OpenAI",
        description="Models of OpenAI.",
        documentation_url="https://platform.openai.com/docs/api-reference/models",
        credentials=_token("api_key", "A key of a project.", r"sk-[A-Za-z0-9_-]{16,255}", "sk-proj-" + "x" * 40),
        probe=Probe(base_url="https://api.openai.com", path="/v1/models", bearer="{api_key}"),
    ),
    Template(
        key="sendgrid",
        display_name="SendGrid",
        description="Mail by SendGrid.",
        documentation_url="https://www.twilio.com/docs/sendgrid/api-reference/users-api",
        credentials=_token("api_key", "A key of the account.", r"SG\.[A-Za-z0-9._-]{16,255}", "SG." + "x" * 60),
        probe=Probe(base_url="https://api.sendgrid.com", path="/v3/scopes", bearer="{api_key}"),
    ),
    Template(
        key="slack",
        display_name="Slack",
        description="Messages to the channels of a workspace.",
        documentation_url="https://docs.slack.dev/reference/methods/auth.test",
        credentials=_token(
            "bot_token", "The token of the app's bot user.", r"xoxb-[A-Za-z0-9-]{8,255}", "xoxb-" + "0" * 24
        ),
        probe=Probe(
            base_url="https://slack.com",
            path="/api/auth.test",
            bearer="{bot_token}",
            refusal=("ok", "error"),
            account=(("team",),),
        ),
    ),
    Template(
        key="stripe",
        display_name="Stripe",
        description="Payments of an account.",
        documentation_url="https://docs.stripe.com/api/accounts/retrieve",
        credentials=_token(
            "api_key",
            "A secret key, or a restricted one.",
            r"(sk|rk)_(live|test)_[A-Za-z0-9]{10,255}",
            "rk_test_" + "x" * 24,
        ),
        probe=Probe(
            base_url="https://api.stripe.com",
            path="/v1/account",
            bearer="{api_key}",
            account=(("settings", "dashboard", "display_name"), ("business_profile", "name"), ("id",)),
        ),
    ),
    Template(
        key="telegram",
        display_name="Telegram",
        description="Messages by a bot.",
        documentation_url="https://core.telegram.org/bots/api#getme",
        credentials=_token(
            "bot_token", "What BotFather has given.", r"[0-9]{6,16}:[A-Za-z0-9_-]{30,64}", "123456789:" + "x" * 35
        ),
        probe=Probe(
            base_url="https://api.telegram.org",
            path="/bot{bot_token}/getMe",
            refusal=("ok", "description"),
            account=(("result", "username"),),
        ),
    ),
    Template(
        key="twilio",
        display_name="Twilio",
        description="Text messages and calls.",
        documentation_url="https://www.twilio.com/docs/iam/api/account",
        credentials=_token("auth_token", "The token beside the SID.", r"[A-Za-z0-9]{32}", "0" * 32),
        options=(Field("account_sid", "The SID of the account.", r"AC[0-9a-f]{32}", "AC" + "0" * 32),),
        probe=Probe(
            base_url="https://api.twilio.com",
            path="/2010-04-01/Accounts/{account_sid}.json",
            basic=("{account_sid}", "{auth_token}"),
            account=(("friendly_name",), ("sid",)),
        ),
    ),
)
TEMPLATES: Mapping[str, Template] = {template.key: template for template in _TEMPLATES}
"""The templates by key, in order."""
