"""Write load through the public door during a fault, and the count that follows: what was acknowledged is there.

Writers insist: each page is asked for with one Idempotency-Key until somebody answers, as a careful client does. Then
every acknowledged page is stored once, audited once, streamed once, and delivered by the webhook under one message id.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from server.kernel.ids import new_id
from tests.clients import Tenant
from tests.domains.webhooks.receiver import Receiver
from tests.drill.doors import CREATED, LATER, Door, through_gateway
from tests.stack import PATIENCE, wait_for
from tests.streams.sse import Follower

WRITERS = 4
# Between two pages of a writer, and before one is asked for again.
PAUSE = 0.02
# Readers have caught up within this time of the end of a fault, in seconds.
CAUGHT_UP = 30.0
HOOK = "/load"
LAST = "last"


@dataclass
class Load:
    """Writers, a follower of the stream and a webhook, of one tenant."""

    tenant: Tenant
    receiver: Receiver
    acknowledged: list[str] = field(default_factory=list)
    """Slugs of the pages, in the order of the answers."""
    unanswered: int = 0
    """How often nobody answered, or somebody said that it cannot be now."""
    asked: int = 0
    """How often somebody asked."""
    surprises: list[str] = field(default_factory=list)
    """What no writer may be answered."""
    doors: list[Door] = field(default_factory=list)
    """Where writers ask by turns; the gateway, if nothing is named."""
    _stopped: threading.Event = field(default_factory=threading.Event)
    _follower: Follower = field(init=False)

    def __post_init__(self) -> None:
        hook = {"url": self.receiver.url(HOOK), "eventTypes": ["page.created"]}
        answer = self.tenant.rest.post(f"{self.tenant.path}/webhooks", hook)
        assert answer.status_code == 201, answer.text
        self._follower = Follower(self.tenant, "")
        self.doors = self.doors or [through_gateway(self.tenant)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write while the block runs; at its end everything that was begun has been answered."""
        writers = [threading.Thread(target=self._write, args=(number,), daemon=True) for number in range(WRITERS)]
        following = threading.Thread(target=self._follow, daemon=True)
        following.start()
        wait_for(lambda: self._follower.connections, what="the stream")
        for writer in writers:
            writer.start()
        try:
            yield
        finally:
            self._stopped.set()
            for writer in writers:
                writer.join(PATIENCE)
        assert not any(writer.is_alive() for writer in writers), "somebody still waits for an answer"
        # A client that was told to begin anew may have done so right after the last event: another one follows.
        until = time.monotonic() + CAUGHT_UP
        while following.is_alive() and time.monotonic() < until:
            self._create(f"{LAST}-{new_id()}", self.doors[0])
            following.join(1.0)
        assert not following.is_alive(), "the stream has not caught up"

    def grows(self, by: int = 20) -> None:
        """Wait until some more pages have been acknowledged."""
        wanted = len(self.acknowledged) + by
        wait_for(
            lambda: len(self.acknowledged) >= wanted,
            what=lambda: f"{by} more pages (then: {len(self.acknowledged)})\n{self.tenant.stack.whereabouts()}",
        )

    def check(self, since: int = 0, *, streamed: bool = True) -> None:
        """Compare what was acknowledged, from the page of this number on, with what there is now.

        A stream has not seen everything when the database was put back: it was told so, and began anew.
        """
        assert not self.surprises, self.surprises[:3]
        expected = Counter(self.acknowledged[since:])
        assert set(expected.values()) == {1}
        wait_for(lambda: self._delivered(expected).keys() >= expected.keys(), CAUGHT_UP, "the webhook's messages")
        assert _differences(expected, {slug: len(ids) for slug, ids in self._delivered(expected).items()}) == {}
        stored = {page["slug"]: page["id"] for page in self._listed("pages", "pages")}
        # What was stored before the database was put back may be there without having been asked about.
        assert expected.keys() <= stored.keys() if since else expected.keys() == stored.keys()
        audited = Counter(
            entry["resourceId"] for entry in self._listed("audit", "auditEntries", 'action = "page.created"')
        )
        assert _differences(expected, {slug: audited[stored[slug]] for slug in expected}) == {}
        seen = Counter(frame.data["slug"] for frame in self._follower.seen if frame.event == "page.created")
        # It stopped at the first of the last ones.
        own = {slug: count for slug, count in expected.items() if not slug.startswith(LAST)}
        assert not streamed or _differences(own, seen) == {}

    def _follow(self) -> None:
        """Follow the stream until it has told of one of the last pages."""
        while not self._has_seen_last():
            self._follower.once(self._has_seen_last)

    def _has_seen_last(self) -> bool:
        seen = self._follower.seen
        return bool(seen) and str(seen[-1].data["slug"]).startswith(LAST)

    def _write(self, number: int) -> None:
        count = 0
        while not self._stopped.is_set():
            count += 1
            self._create(f"load-{number}-{count}", self.doors[(number + count) % len(self.doors)])
            time.sleep(PAUSE)

    def _create(self, slug: str, door: Door) -> None:
        """Ask for a page until somebody answers."""
        key = new_id()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            self.asked += 1
            answer = door(slug, key)
            if answer == CREATED:
                self.acknowledged.append(slug)
                return
            if answer != LATER:
                self.surprises.append(f"{slug}: {answer}")
                return
            self.unanswered += 1
            time.sleep(PAUSE)
        self.surprises.append(f"{slug}: nobody answered")

    def _delivered(self, expected: Counter[str]) -> dict[str, set[str]]:
        """The ids of the messages of each page."""
        found: dict[str, set[str]] = {}
        for message in self.receiver.messages(HOOK):
            slug = message.content["data"]["slug"]
            if slug in expected:
                found.setdefault(slug, set()).add(message.id)
        return found

    def _listed(self, collection: str, name: str, condition: str = "") -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            asked = {"pageSize": 500, "pageToken": token} | ({"filter": condition} if condition else {})
            answer = self.tenant.rest.get(f"{self.tenant.path}/{collection}", asked)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            yield from found.get(name, [])
            token = found.get("nextPageToken", "")
            if not token:
                return


def _differences(expected: Mapping[str, int], found: Mapping[str, int]) -> dict[str, int]:
    """How often what is not there once is there."""
    return {slug: found.get(slug, 0) for slug in expected if found.get(slug, 0) != expected[slug]}
