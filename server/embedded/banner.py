"""The output of `plinth up` when it serves: addresses, a login, and three commands to paste."""

import json
import shlex

from server.embedded import envoy
from server.embedded.logs import Console
from server.settings import Settings


def banner(settings: Settings, console: Console, seeded: dict[str, str], seconds: float) -> str:
    """The text that a user sees first, kept short. `seeded` has the facts of a Seeded, or nothing."""
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
    """The login and its tenant. None is known in production, or after the owner chose a password."""
    if not seeded.get("email"):
        return []
    login = ("Login", f"{seeded['email']}  {seeded['password']}")
    tenant = ("Tenant", seeded["tenant_id"] or "none: the owner belongs to no tenant any more")
    people = [("Others", f"{seeded['people']}, with the same password")] if seeded.get("people") else []
    return [login, tenant, *people]


def commands(settings: Settings, seeded: dict[str, str]) -> list[str]:
    """Three commands that work in this order in bash and zsh, repeatedly, with only curl and sed.

    A command that fails reports it: curl exits with 22 and shows the answer, and no request is sent without a token.
    """
    # The certificate names the deployment, not this address.
    curl = f"curl --fail-with-body -sS{' -k' if settings.tls_certificate else ''}"
    # zsh treats the brackets of an IPv6 address as a pattern.
    login_url, pages_url = (
        shlex.quote(f"{envoy.url(settings)}/api/v1/{path}")
        for path in ("auth/login", f"tenants/{seeded['tenant_id']}/pages")
    )
    login = shlex.quote(json.dumps({"email": seeded["email"], "password": seeded["password"]}))
    json_type = "-H 'Content-Type: application/json'"
    # An answer without a token is shown, because it gives the reason.
    extract = r"""sed -n -e 's/.*"accessToken": *"\([^"]*\)".*/\1/p' -e t -e 'w /dev/stderr'"""
    pages = f'{curl} {pages_url} -H "Authorization: Bearer ${{TOKEN:?log in first}}"'
    return [
        f"TOKEN=$({curl} {login_url} {json_type} -d {login} | {extract})",
        pages,
        # A new title each time, and with it a new slug.
        f"""{pages} {json_type} -d "{{\\"title\\": \\"Hello at $(date +%T)\\"}}\"""",
    ]
