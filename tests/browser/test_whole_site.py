"""A site that a front-end developer builds through REST alone, as a visitor sees it in a real browser."""

import struct
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.browser import chromium
from tests.clients import Rest, new_address, new_password, unique
from tests.stack import Stack

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not (chromium.BROWSER and chromium.DRIVER),
        reason="no browser: apt-get install chromium chromium-driver",
    ),
]
LOGO, CAR = (200, 30, 40), (20, 160, 70)
SIZE = 64


def png(color: tuple[int, int, int]) -> bytes:
    """An image of one colour."""
    row = b"\0" + bytes(color) * SIZE
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * SIZE)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


class Images(BaseHTTPRequestHandler):
    """Answers with images, each named by its colour."""

    def do_GET(self) -> None:
        """One of them."""
        body = png(LOGO if self.path == "/logo.png" else CAR)
        self.send_response(200)
        self.send_header("content-type", "image/png")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def images() -> Iterator[str]:
    """Where images are."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Images) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def build(stack: Stack, images: str) -> str:
    """Build a site from nothing. Returns its host name."""
    anybody, email, password = Rest(stack, None), new_address(), new_password()
    done(anybody.post("auth/signup", {"email": email, "password": password}), 201)
    session = done(anybody.post("auth/login", {"email": email, "password": password}))
    subdomain = unique("garage")
    owner = Rest(stack, session["accessToken"])
    tenant = done(owner.post("tenants", {"name": "Garage Miller", "subdomain": subdomain}), 201)
    session = done(owner.post("auth/switch-tenant", {"tenantId": tenant["id"]}))
    rest, path = Rest(stack, session["accessToken"]), f"tenants/{tenant['id']}"
    templates = done(rest.get("templates", {"filter": 'key = "garage"'}))["pageTemplates"]
    home = done(rest.post(f"{path}/pages", {"slug": "home", "pageTemplateId": templates[0]["id"]}), 201)
    [hero, *_] = done(rest.get(f"{path}/pages/{home['id']}/sections"))["sections"]
    hero["content"]["image"] = {"url": f"{images}/car.png", "alt": "A car"}
    done(rest.patch(f"{path}/pages/{home['id']}/sections/{hero['id']}", {"content": hero["content"]}))
    about = done(rest.post(f"{path}/pages", {"title": "About us"}), 201)
    story = {"kind": "text", "content": {"heading": "Our story", "html": "<p>Since <b>1987</b>.</p>"}}
    batch = {"requests": [{"section": story}, {"section": {"kind": "divider"}}]}
    ids = [
        each["id"] for each in done(rest.post(f"{path}/pages/{about['id']}/sections:batchCreate", batch))["sections"]
    ]
    done(rest.put(f"{path}/pages/{about['id']}/sections/reorder", {"ids": ids[::-1]}))
    for title, page in (("Start", home), ("About", about)):
        done(rest.post(f"{path}/navigation", {"title": title, "pageId": page["id"]}), 201)
    done(rest.patch(f"{path}/pages/{home['id']}/seo", {"title": "Garage Miller: oil and tyres"}))
    done(rest.patch(f"{path}/branding", {"logoUrl": f"{images}/logo.png", "primaryColor": "#103060"}))
    for page in (home, about):
        done(rest.post(f"{path}/pages/{page['id']}/publish", {}))
    return f"{subdomain}.{stack.settings.sites_domain}"


def done(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_site_is_built_through_rest_and_seen_in_a_browser(driver: Any, stack: Stack, images: str) -> None:
    host = build(stack, images)
    port = stack.url.rpartition(":")[2]
    driver.set_window_size(1000, 900)
    driver.get(f"http://{host}:{port}/")
    assert driver.title == "Garage Miller: oil and tyres"
    assert driver.find_element("css selector", "h1").text == "Oil, brakes and tyres while you wait"
    logo, car = (driver.find_element("css selector", f'img[src$="{name}.png"]') for name in ("logo", "car"))
    for image, color in ((logo, LOGO), (car, CAR)):
        driver.execute_script("arguments[0].scrollIntoView()", image)
        loaded = "const [image, done] = arguments; image.decode().then(() => done(true), () => done(false))"
        assert driver.execute_async_script(loaded, image)
        assert middle_of(image.screenshot_as_png) == color
    heading = driver.find_element("css selector", "h1").value_of_css_property("color")
    assert heading == "rgba(16, 48, 96, 1)"
    driver.find_element("link text", "About").click()
    assert (driver.title, driver.find_element("css selector", "main p").text) == ("About us", "Since 1987.")
    assert driver.current_url == f"http://{host}:{port}/about-us"
    assert [entry for entry in driver.get_log("browser") if "favicon" not in entry["message"]] == []


def middle_of(screenshot: bytes) -> tuple[int, ...]:
    """The colour in the middle of a PNG of 8 bits, whose rows may be predicted from each other (PNG, 9)."""
    width, height, _, kind = struct.unpack(">IIBB", screenshot[16:26])
    step = {2: 3, 6: 4}[kind]
    data, place = b"", 8
    while place < len(screenshot):
        (length,) = struct.unpack(">I", screenshot[place : place + 4])
        if screenshot[place + 4 : place + 8] == b"IDAT":
            data += screenshot[place + 8 : place + 8 + length]
        place += length + 12
    raw, above = zlib.decompress(data), bytes(width * step)
    for row in range(height // 2 + 1):
        start = row * (width * step + 1)
        above = _unfiltered(raw[start], raw[start + 1 : start + 1 + width * step], above, step)
    middle = width // 2 * step
    return tuple(above[middle : middle + 3])


def _unfiltered(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    done = bytearray()
    for place, value in enumerate(row):
        left = done[place - step] if place >= step else 0
        corner = above[place - step] if place >= step else 0
        up = above[place]
        guess = left + up - corner
        paeth = min((left, up, corner), key=lambda each: abs(guess - each))
        done.append((value + (0, left, up, (left + up) // 2, paeth)[kind]) & 0xFF)
    return bytes(done)
