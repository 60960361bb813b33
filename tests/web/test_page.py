"""The page and its form, without JavaScript: a number, three buttons, and what just happened, said once."""

import re
from collections.abc import AsyncIterator

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client

from quart_counter import create_app
from quart_counter.stores import StoreAway

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def app() -> AsyncIterator[Quart]:
    app = create_app(mode="lock")
    async with app.test_app():
        yield app


@pytest.fixture
def browser(app: Quart) -> Client:
    """It keeps cookies, as browsers do."""
    return app.test_client()


async def page(browser: Client) -> str:
    reply = await browser.get("/")
    assert (reply.status_code, reply.content_type) == (200, "text/html; charset=utf-8")
    assert reply.headers["Cache-Control"] == "no-store"
    return await reply.get_data(as_text=True)


def shown(html: str) -> str:
    """The number on the ticket."""
    found = re.search(r'<p class="value"[^>]*>(-?\d+)</p>', html)
    assert found is not None
    return found[1]


async def press(browser: Client, action: str) -> None:
    reply = await browser.post("/", form={"action": action})
    assert (reply.status_code, reply.headers["Location"]) == (303, "/")
    assert reply.headers["Cache-Control"] == "no-store"


async def test_it_shows_the_value(browser: Client) -> None:
    assert shown(await page(browser)) == "0"
    for _ in range(7):
        await browser.post("/counters/visits/increment")
    assert shown(await page(browser)) == "7"


async def test_each_press_is_told_once(browser: Client) -> None:
    for number in range(1, 8):
        await press(browser, "increment")
        html = await page(browser)
        assert f"You are number {number}" in html
        assert shown(html) == str(number)
    assert "You are number" not in await page(browser)


async def test_down_and_reset(browser: Client) -> None:
    await press(browser, "decrement")
    assert "The counter is at -1" in (html := await page(browser))
    assert shown(html) == "-1"
    await press(browser, "reset")
    assert shown(await page(browser)) == "0"


async def test_what_is_refused_is_told_too(browser: Client) -> None:
    await browser.put("/counters/visits", json={"value": 2**53 - 1})
    await press(browser, "increment")
    html = await page(browser)
    assert "Nothing was changed" in html
    assert shown(html) == str(2**53 - 1)


async def test_two_visitors_do_not_see_each_others_number(app: Quart) -> None:
    alice, bob = app.test_client(), app.test_client()
    await press(alice, "increment")
    await press(bob, "increment")
    assert "You are number 1" in await page(alice)
    assert "You are number 2" in await page(bob)


async def test_the_cookie_is_for_this_site_only(browser: Client) -> None:
    reply = await browser.post("/", form={"action": "increment"})
    cookie = reply.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


async def test_a_worker_reads_the_cookie_that_another_signed() -> None:
    """`serve` gives all its workers one secret."""
    first, second = (create_app(mode="lock", secret_key="shared by them both") for _ in range(2))
    async with first.test_app(), second.test_app():
        signed = await first.test_client().post("/", form={"action": "increment"})
        cookie = signed.headers["Set-Cookie"].partition(";")[0]
        reply = await second.test_client().get("/", headers={"Cookie": cookie})
        assert "You are number 1" in await reply.get_data(as_text=True)


@pytest.mark.parametrize("cookie", ["session=", "session=x", "session=.eJx.y.z", "session=\xff", "=;;;", "a" * 5000])
async def test_a_cookie_of_nobody_is_ignored(browser: Client, cookie: str) -> None:
    reply = await browser.get("/", headers={"Cookie": cookie})
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
async def test_other_sites_cannot_press(browser: Client, headers: dict[str, str]) -> None:
    reply = await browser.post("/", form={"action": "increment"}, headers=headers)
    assert (reply.status_code, reply.content_type) == (403, "application/problem+json")
    assert shown(await page(browser)) == "0"


@pytest.mark.parametrize(
    ("media", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"action=double", 422),
        ("application/x-www-form-urlencoded", b"action=", 422),
        ("application/x-www-form-urlencoded", b"Action=increment", 422),
        ("application/x-www-form-urlencoded", b"action=\xff", 422),
        ("application/x-www-form-urlencoded", b"action=%ff%00", 422),
        ("application/x-www-form-urlencoded", b"", 422),
        ("application/x-www-form-urlencoded", b"action=double&x=" + b"x" * 60_000, 422),
        ("application/x-www-form-urlencoded", b"action=increment&x=" + b"x" * 70_000, 413),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % i for i in range(5000)), 422),
        ("application/json", b'{"action": "increment"}', 422),
        ("text/plain", b"action=increment", 422),
        ("multipart/form-data", b"action=increment", 422),
        ("multipart/form-data; boundary=", b"--\r\n", 422),
        ("multipart/form-data; boundary=x", b"--x\r\nnothing here", 422),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="action"\r\n\r\nincr', 422),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--\r\n", 422),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: nonsense\r\n\r\na\r\n--x--\r\n", 422),
        ("multipart/form-data; boundary=x", b"x" * 70_000, 413),
        ("multipart/form-data; boundary=" + "y" * 300, b"--x\r\n", 422),
        ("\xff", b"action=increment", 422),
    ],
)
async def test_broken_forms_change_nothing(browser: Client, media: str, body: bytes, status: int) -> None:
    reply = await browser.post("/", data=body, headers={"Content-Type": media})
    assert (reply.status_code, reply.content_type) == (status, "application/problem+json"), await reply.get_data()
    assert shown(await page(browser)) == "0"


async def test_a_multipart_form_is_a_form(browser: Client) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="action"\r\n\r\nincrement\r\n--x--\r\n'
    reply = await browser.post("/", data=part, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert reply.status_code == 303


async def test_it_needs_nothing_from_elsewhere(browser: Client) -> None:
    """No other host, and no script but its own: it works in a cellar."""
    html = await page(browser)
    assert re.findall(r"<script[^>]*>", html) == ['<script src="/static/live.js" defer>']
    assert not re.search(r"<style| style=| on[a-z]+=", html)
    links = re.findall(r'(?:href|src|action)="([^"]*)"', html)
    assert links
    assert all(link.startswith("/") and not link.startswith("//") for link in links)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_the_browser_is_told_to_load_nothing_else(browser: Client, path: str) -> None:
    headers = (await browser.get(path)).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
    ],
)
async def test_a_store_that_is_away_is_told_in_html_to_people(
    app: Quart, browser: Client, monkeypatch: pytest.MonkeyPatch, accept: str, media: str
) -> None:
    monkeypatch.setattr(app.extensions["quart_counter"], "look", _away)
    reply = await browser.get("/", headers={"Accept": accept})
    assert (reply.status_code, reply.content_type, reply.headers["Retry-After"]) == (503, media, "1")
    assert ("&lt;x&gt;" if "html" in media else "<x>") in await reply.get_data(as_text=True)


async def _away(name: str) -> None:
    raise StoreAway("Redis does not answer <x>")


async def test_its_files_are_there(browser: Client) -> None:
    for path in re.findall(r'(?:href|src)="(/static/[^"]*)"', await page(browser)):
        assert (await browser.get(path)).status_code == 200
    assert (await browser.get("/static/../app.py")).status_code == 404
    assert (await browser.get("/static/%2e%2e/%2e%2e/app.py")).status_code == 404


@pytest.mark.parametrize("name", ["a" * 256, "a" * 4000, "..", "%00", "%ff", "page.css%00", "%2e%2e%2fpage.py", ""])
async def test_no_other_file_is_there(browser: Client, name: str) -> None:
    """Whatever a file system would say to such a name."""
    assert (await browser.get(f"/static/{name}")).status_code == 404


async def test_a_file_that_the_browser_has_is_not_sent_again(browser: Client) -> None:
    whole = await browser.get("/static/page.css")
    etag = whole.headers["ETag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = await browser.get("/static/page.css", headers={"If-None-Match": known})
        assert (again.status_code, again.headers["ETag"], await again.get_data()) == (304, etag, b"")
    other = await browser.get("/static/page.css", headers={"If-None-Match": '"other"'})
    assert (other.status_code, await other.get_data()) == (200, await whole.get_data())


DATES = ["Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "x"]


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("path", ["/static/page.css", "/", "/docs", "/openapi.json", "/counters/tickets"])
async def test_dates_that_are_none_are_passed_over(browser: Client, path: str, date: str) -> None:
    """RFC 9110, 13.1.3: a recipient must ignore them."""
    conditions = {"If-Modified-Since": date, "If-Unmodified-Since": date, "Range": "bytes=0-1", "If-Range": date}
    assert (await browser.get(path, headers=conditions)).status_code == 200
