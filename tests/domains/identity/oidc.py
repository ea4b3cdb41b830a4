"""Providers of OpenID Connect on loopback: a certified one, and browsers that sign in at it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from tests.node.packages import HERE, installed

PAGE = "http://localhost:1/signed-in"
"""Where browsers come back to. Nobody listens there: what matters is the address."""
CLIENT_ID, CLIENT_SECRET = "plinth", "a secret: with %20 signs & blanks"
ACTION = re.compile(r'action="([^"]+)"')
PROMPT = re.compile(r'name="prompt" value="([^"]+)"')
STEPS = 12


@contextmanager
def certified_provider(folder: Path) -> Iterator[str]:
    """The issuer of panva's oidc-provider, which has passed the conformance tests of the OpenID Foundation."""
    shutil.copy(HERE / "oidc_provider.mjs", folder)
    (folder / "node_modules").symlink_to(installed())
    command = ["node", "oidc_provider.mjs", PAGE]
    with (
        (folder / "output").open("w") as log,
        subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as it,
    ):
        assert it.stdout is not None
        assert it.stdin is not None
        issuer = it.stdout.readline().strip()
        assert issuer, (folder / "output").read_text()
        try:
            yield issuer
        finally:
            it.stdin.close()


def sign_in_there(url: str, login: str) -> dict[str, str]:
    """Go through the pages of the provider as a browser. Returns the parameters with which it sends it back."""
    with httpx.Client(timeout=30) as browser:
        answer = browser.get(url)
        for _ in range(STEPS):
            if answer.is_redirect:
                location = urljoin(str(answer.url), answer.headers["location"])
                if location.startswith(PAGE):
                    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
                answer = browser.get(location)
            else:
                action, prompt = ACTION.search(answer.text), PROMPT.search(answer.text)
                assert action, answer.text
                assert prompt, answer.text
                fields = {"prompt": prompt[1], "login": login, "password": "any"}
                answer = browser.post(urljoin(str(answer.url), action[1]), data=fields)
    raise AssertionError("the provider asks again and again")
