"""Probing: a service is asked who the caller is, with the credentials of an integration."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from server.domains.integrations.templates import Probe, Template, Values
from server.json_values import JsonValue
from server.kernel.problems import StateForbids, Unavailable
from server.kernel.providers import Provider, ProviderAnswer, ProviderPort, ProviderRequest

INTEGRATIONS = Provider(
    name="integrations",
    # Each template has an address of its own.
    base_url=lambda _: None,
    setting="PLINTH_INTEGRATION_BASE_URLS",
    deadline=10.0,
)
LONGEST_TEXT = 200
USER_AGENT = "Plinth"
NO_ANSWER = "the service did not answer"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a test has shown."""

    error: str
    """Empty if the service has taken the credentials."""
    account: str = ""


class Prober:
    """Tests integrations."""

    def __init__(self, port: ProviderPort, base_urls: Mapping[str, str]) -> None:
        """`base_urls` are those of the settings, by the key of a template."""
        self._port = port
        self._base_urls = base_urls

    def probe(self, template: Template, options: Values, credentials: Values) -> Finding:
        """Ask the service. Whatever it does is a finding. Waits for its answer, within the deadline of the provider."""
        probe, values = template.probe, {**options, **credentials}
        base_url = self._base_urls.get(template.key) or probe.base_for(values)
        # A path holds what patterns have let through, and is encoded all the same.
        path = probe.path.format_map({name: quote(value, safe=":") for name, value in values.items()})
        request = ProviderRequest(
            operation=f"{template.key}.probe",
            method="GET",
            path=path,
            headers=headers_of(probe, values),
            is_safe=True,
        )
        try:
            return finding_of(probe, self._port.at(base_url).send(request), credentials)
        except (Unavailable, StateForbids):
            return Finding(NO_ANSWER)


def headers_of(probe: Probe, values: Values) -> dict[str, str]:
    """The headers of the request, with the credentials."""
    headers = {"accept": "application/json", "user-agent": USER_AGENT, **probe.headers}
    user, password = (each.format_map(values) for each in probe.basic)
    if probe.bearer:
        headers["authorization"] = f"Bearer {probe.bearer.format_map(values)}"
    elif user:
        headers["authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    return headers


def finding_of(probe: Probe, answer: ProviderAnswer, credentials: Values) -> Finding:
    """What an answer shows. No text of the service is kept that holds a credential."""
    told = _object(answer)
    if answer.status in INTEGRATIONS.rejections:
        return Finding(f"the service rejects the credentials ({answer.status})")
    if not answer.is_success:
        return Finding(f"the service has answered {answer.status}")
    if told is None:
        return Finding("the service has answered something else than JSON")
    flag, why = probe.refusal
    if flag and told.get(flag) is not True:
        return Finding(f"the service refuses: {_safe(told.get(why), credentials) or 'it does not say why'}")
    found = (_safe(_at(told, path), credentials) for path in probe.account)
    return Finding("", next((each for each in found if each), ""))


def _object(answer: ProviderAnswer) -> Mapping[str, JsonValue] | None:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _at(told: Mapping[str, JsonValue], path: tuple[str, ...]) -> JsonValue:
    found: JsonValue = told
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _safe(value: JsonValue, credentials: Values) -> str:
    """A text or a number of the service, in one line. Empty for one that holds a credential."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    line = "".join(sign for sign in str(value) if sign.isprintable())
    is_ours = any(own in line for own in credentials.values())
    return "" if is_ours else line[:LONGEST_TEXT]
