"""What `plinth up` prints when it serves: where, who may log in, and three commands to paste."""

import json
import shlex

from server.embedded import envoy
from server.embedded.logs import Console
from server.settings import Settings


def banner(settings: Settings, console: Console, seeded: dict[str, str], seconds: float) -> str:
    """Write what a person reads first, short enough to be read. `seeded` has the facts of a Seeded, or nothing."""
    url = envoy.url(settings)
    rows = [("REST", url), ("gRPC", f"{envoy.reachable_host(settings)}:{settings.port}"), *_login(seeded)]
    lines = ["", console.bold(f"  Plinth is up, after {seconds:.1f} s. Ctrl-C ends it."), ""]
    lines += [f"  {name:<8}{console.bold(value)}" for name, value in rows]
    if seeded.get("advice"):
        lines += ["", f"  {seeded['advice']}."]
    if seeded.get("tenant_id"):
        lines += ["", "  Paste these to log in, list pages and create one:", "", *commands(settings, seeded)]
    return "\n".join([*lines, ""])


def _login(seeded: dict[str, str]) -> list[tuple[str, str]]:
    """Who may log in, and where: nobody that is known here in production, or after the owner chose a password."""
    if not seeded.get("email"):
        return []
    login = ("Login", f"{seeded['email']}  {seeded['password']}")
    return [login, ("Tenant", seeded["tenant_id"] or "none: the owner belongs to no tenant any more")]


def commands(settings: Settings, seeded: dict[str, str]) -> list[str]:
    """Give three lines that work in this order in bash and zsh, with nothing but curl and sed."""
    # The certificate names the deployment, not this address.
    curl = "curl -sS -k" if settings.tls_certificate else "curl -sS"
    url = envoy.url(settings)
    login = json.dumps({"email": seeded["email"], "password": seeded["password"]})
    pages = f"{url}/api/v1/tenants/{seeded['tenant_id']}/pages"
    json_type = "-H 'Content-Type: application/json'"
    extract = r"""sed 's/.*"accessToken": *"\([^"]*\)".*/\1/'"""
    return [
        f"TOKEN=$({curl} {url}/api/v1/auth/login {json_type} -d {shlex.quote(login)} | {extract})",
        f'{curl} {pages} -H "Authorization: Bearer $TOKEN"',
        f"""{curl} {pages} -H "Authorization: Bearer $TOKEN" {json_type} -d '{{"title": "Hello"}}'""",
    ]
