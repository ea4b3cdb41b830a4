"""A rotation of the secret, as docs/operating.md tells it, machine by machine; and a secret that is foreign."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import jwt
import psycopg
import pytest
from plinth.identity.v1 import api_key_pb2, auth_pb2
from plinth.webhooks.v1 import webhook_pb2

from server.domains.webhooks.secrets import SecretBox
from server.kernel.sealing import KEY_ID_BYTES
from server.secrets import Secrets
from tests.clients import unique
from tests.embedded.engines import PASSWORD, Cluster, password_redis, postgresql
from tests.embedded.hosts import TIMEOUT, Host, bearer, cut_connections
from tests.stack import make_folder, wait_for

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]
OLD, NEW = "the old secret of the deployment, long enough", "the new secret of the deployment, long enough"
BEFORE = {"secret_key": OLD}
AHEAD = {"secret_key": OLD, "secret_key_next": NEW}
SIGNING = {"secret_key": NEW, "secret_key_previous": OLD}
AFTER = {"secret_key": NEW}
# EX_CONFIG of sysexits.h.
FOREIGN = 78


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = make_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cluster]:
    with postgresql(folder) as made:
        yield made


@pytest.fixture(scope="module")
def cache(folder: Path) -> Iterator[str]:
    with password_redis(folder) as port:
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"


class Scene:
    """Two machines on one database, and what a tenant has there."""

    def __init__(self, cluster: Cluster, cache: str, folder: Path) -> None:
        self.database = unique("rotated")
        self.administrator = cluster.administrator(self.database)
        shared = {"DATABASE_URL": cluster.add_database(self.database), "REDIS_URL": cache}
        self.hosts = [Host(folder / f"{self.database}-{number}", **shared) for number in (1, 2)]
        self.login: dict[str, str] = {}

    @property
    def tenant(self) -> str:
        return self.login["tenant_id"]

    def begin(self) -> None:
        """Start both under the old secret, with the sample data."""
        for host in self.hosts:
            host.enter(**BEFORE)
        self.login = json.loads(self.hosts[0].command("seed").stdout)

    def add_key(self, token: str) -> str:
        """An API key that may read pages."""
        key = api_key_pb2.ApiKey(name="reader", permissions=["sites.pages.read"])
        request = api_key_pb2.CreateApiKeyRequest(tenant_id=self.tenant, api_key=key)
        return str(self.hosts[0].api_keys.CreateApiKey(request, metadata=bearer(token), timeout=TIMEOUT).key)

    def add_webhook(self, token: str) -> None:
        hook = webhook_pb2.Webhook(url="http://127.0.0.1:9/", event_types=["page.created"], enabled=False)
        request = webhook_pb2.CreateWebhookRequest(tenant_id=self.tenant, webhook=hook)
        self.hosts[0].webhooks.CreateWebhook(request, metadata=bearer(token), timeout=TIMEOUT)

    def sealed_under(self) -> bytes:
        """What names the key that the secret of the webhook is under."""
        with psycopg.connect(self.administrator) as connection:
            row = connection.execute("SELECT secret FROM webhooks").fetchone()
        return bytes(row[0])[:KEY_ID_BYTES] if row else b""

    def published(self, host: Host) -> set[str]:
        """The ids of the keys that a machine publishes."""
        keys = host.auth.ListJsonWebKeys(auth_pb2.ListJsonWebKeysRequest(), timeout=TIMEOUT).keys
        return {key.kid for key in keys}

    def stop(self) -> None:
        for host in self.hosts:
            host.stop()


@pytest.fixture
def scene(cluster: Cluster, cache: str, folder: Path) -> Iterator[Scene]:
    made = Scene(cluster, cache, folder)
    try:
        yield made
    finally:
        made.stop()


def test_two_machines_rotate_one_after_the_other_and_nobody_notices(scene: Scene) -> None:
    """The recipe of docs/operating.md, with both machines called after every step, and made to log in anew."""
    scene.begin()
    first = scene.hosts[0].log_in(scene.login)
    session, key = first.refresh_token, scene.add_key(first.access_token)
    scene.add_webhook(first.access_token)
    page_token = scene.hosts[0].list(scene.tenant, key).next_page_token
    created = {unique("page"): ""}
    rotation = [(host, state) for state in (AHEAD, SIGNING) for host in scene.hosts]
    for host, state in rotation:
        host.enter(**state)
        cut_connections(scene.administrator, scene.database)
        published = [scene.published(each) for each in scene.hosts]
        tokens = [each.log_in(scene.login).access_token for each in scene.hosts]
        tokens.append(first.access_token)
        slug = unique("page")
        created[slug] = scene.hosts[0].create(scene.tenant, first.access_token, slug, slug)
        for each in scene.hosts:
            # Whichever machine a call comes to knows what any of them has signed, and what was signed before.
            assert all(each.list(scene.tenant, token).pages for token in (*tokens, key))
            assert each.list(scene.tenant, key, page_token).pages
            made = {each.create(scene.tenant, first.access_token, slug, slug) for _ in range(2)}
            assert made == {created[slug]}
            session = each.auth.RefreshToken(
                auth_pb2.RefreshTokenRequest(refresh_token=session), timeout=TIMEOUT
            ).refresh_token
        signing = {jwt.get_unverified_header(token)["kid"] for token in tokens}
        # Both publish each key that either signs with: clients that ask one of them verify tokens of the other.
        assert all(signing <= keys for keys in published)
    with scene.hosts[0].working():
        new = SecretBox(Secrets(NEW.encode()))
        wait_for(lambda: scene.sealed_under() in new.lasting, what="the secret of the webhook under the new key")
    for host in scene.hosts:
        host.enter(**AFTER)
        cut_connections(scene.administrator, scene.database)
        for each in scene.hosts:
            assert each.log_in(scene.login).access_token
    with pytest.raises(grpc.RpcError) as refused:
        scene.hosts[0].list(scene.tenant, first.access_token)
    assert cast("Any", refused.value).code() == grpc.StatusCode.UNAUTHENTICATED
    assert scene.hosts[1].auth.RefreshToken(auth_pb2.RefreshTokenRequest(refresh_token=session), timeout=TIMEOUT)
    with psycopg.connect(scene.administrator) as connection:
        # What the old secret gave is of no use any more.
        logins = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE %s AND rolcanlogin", (f"{scene.database}\\_%",)
        ).fetchall()
    assert len(logins) == 2


def test_a_machine_that_skips_a_step_locks_no_other_one_out_of_the_database(scene: Scene) -> None:
    """The first signs with the new secret while the second has never heard of it."""
    scene.begin()
    one, two = scene.hosts
    token = two.log_in(scene.login).access_token
    one.enter(**SIGNING)
    cut_connections(scene.administrator, scene.database)
    assert all(host.list(scene.tenant, token).pages for host in scene.hosts)
    # Nor does the second lock out the first by migrating with the old one, which it still has to know then.
    two.enter(**AHEAD)
    cut_connections(scene.administrator, scene.database)
    for host in scene.hosts:
        assert host.list(scene.tenant, token).pages


def test_a_foreign_secret_is_refused_before_anything_is_served_unless_it_is_accepted(scene: Scene) -> None:
    scene.begin()
    one, two = scene.hosts
    token = one.log_in(scene.login).access_token
    scene.add_key(token)
    scene.add_webhook(token)
    one.create(scene.tenant, token, unique("page"), unique("key"))
    one.stop()
    foreign = {"PLINTH_SECRET_KEY": "a secret of another deployment, long enough"}
    host = Host(two.folder.with_name(unique("foreign")), **two.shared, **foreign)
    for command in (("migrate",), ("serve", "--workers", "1"), ("worker",), ("realtime",), ("up",)):
        done = host.command(*command, PLINTH_PORT="0")
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "filled under another secret" in line]
        assert (done.returncode, len(lines)) == (FOREIGN, 1), (command, done.stdout, done.stderr)
        assert lines[0].startswith("plinth: PLINTH_SECRET_KEY: ")
        assert "--accept-new-secret" in lines[0]
    # Those who have the right one go on meanwhile.
    assert two.list(scene.tenant, token).pages
    accepted = host.command("migrate", "--accept-new-secret")
    assert accepted.returncode == 0, accepted.stderr
    lost = "1 sessions, 1 API keys, 1 secrets of webhooks, 1 records of idempotency keys"
    assert accepted.stderr == f"plinth: the new secret is accepted; lost with the one before: {lost}\n"
    assert host.command("migrate").returncode == 0
    # It opens nothing of the login that is in the database, so that none is printed.
    seed = host.command("seed")
    assert (seed.returncode, seed.stdout) == (1, "")
    assert "has another password than the one that follows from PLINTH_SECRET_KEY" in seed.stderr
    # Now the old one is the foreign one.
    assert two.command("migrate").returncode == FOREIGN
