"""A site that a front-end developer builds through REST alone, as a visitor sees it in a real browser."""

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

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


def uploaded(rest: Rest, path: str, name: str, color: tuple[int, int, int]) -> str:
    """The address of an image of one colour that anyone may get."""
    written = BytesIO()
    Image.new("RGB", (SIZE, SIZE), color).save(written, "PNG")
    form = {"file": (f"{name}.png", written.getvalue(), "image/png")}
    answer = rest.request("POST", f"{path}/assets/upload", files=form, params={"isPublic": "true", "alt": name})
    return str(done(answer, 201)["url"])


def build(stack: Stack) -> tuple[str, str, str]:
    """Build a site from nothing. Returns its host name, and the addresses of its logo and of an image."""
    anybody, email, password = Rest(stack, None), new_address(), new_password()
    done(anybody.post("auth/signup", {"email": email, "password": password}), 201)
    session = done(anybody.post("auth/login", {"email": email, "password": password}))
    subdomain = unique("garage")
    owner = Rest(stack, session["accessToken"])
    tenant = done(owner.post("tenants", {"name": "Garage Miller", "subdomain": subdomain}), 201)
    session = done(owner.post("auth/switch-tenant", {"tenantId": tenant["id"]}))
    rest, path = Rest(stack, session["accessToken"]), f"tenants/{tenant['id']}"
    logo, car = (uploaded(rest, path, name, color) for name, color in (("logo", LOGO), ("car", CAR)))
    templates = done(rest.get("templates", {"filter": 'key = "garage"'}))["pageTemplates"]
    home = done(rest.post(f"{path}/pages", {"slug": "home", "pageTemplateId": templates[0]["id"]}), 201)
    [hero, *_] = done(rest.get(f"{path}/pages/{home['id']}/sections"))["sections"]
    hero["content"]["image"] = {"url": car, "alt": "A car"}
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
    done(rest.patch(f"{path}/branding", {"logoUrl": logo, "primaryColor": "#103060"}))
    for page in (home, about):
        done(rest.post(f"{path}/pages/{page['id']}/publish", {}))
    return f"{subdomain}.{stack.settings.sites_domain}", logo, car


def done(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_site_is_built_through_rest_and_seen_in_a_browser(driver: Any, stack: Stack) -> None:
    host, *urls = build(stack)
    port = stack.url.rpartition(":")[2]
    driver.set_window_size(1000, 900)
    driver.get(f"http://{host}:{port}/")
    assert driver.title == "Garage Miller: oil and tyres"
    assert driver.find_element("css selector", "h1").text == "Oil, brakes and tyres while you wait"
    logo, car = (driver.find_element("css selector", f'img[src="{url}"]') for url in urls)
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
    """The colour in the middle of a picture."""
    picture = Image.open(BytesIO(screenshot)).convert("RGB")
    found: Any = picture.getpixel((picture.width // 2, picture.height // 2))
    return tuple(found)
