"""The page of a race in a real Chromium, opened as a file: nothing is asked for, and everybody can read it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, expect
from reported import NASTY, Foreign, add, apart, right, row

from e2e.browser import chromium, visitor, width_beyond_the_screen
from quart_counter.lab.html import page as page_of

PHONE = {"width": 360, "height": 740}


@asynccontextmanager
async def opened(browser: Browser, file: Path, **how: Any) -> AsyncIterator[Page]:
    async with visitor(browser, file.as_uri(), **how) as page:
        await page.goto(file.as_uri())
        yield page


async def colour(page: Page, selector: str, of: str = "background-color") -> str:
    return str(await page.locator(selector).first.evaluate(f"mark => getComputedStyle(mark)['{of}']"))


async def test_the_page_of_a_race(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page_of([apart(each=20, more=10)]), encoding="utf-8")
    async with chromium() as browser:
        await by_keyboard_and_mouse(browser, file)
        await light_and_dark(browser, file)
        await on_paper(browser, file)
        await without_the_script(browser, file)


async def by_keyboard_and_mouse(browser: Browser, file: Path) -> None:
    async with opened(browser, file) as page:
        await expect(page).to_have_title(re.compile("^RACY · lock"))
        await expect(page.get_by_role("heading", level=1)).to_contain_text("lock")
        grid = page.get_by_role("list", name="The numbers")
        await expect(grid.get_by_role("listitem")).to_have_count(50)
        readout = page.locator(".cells + .readout")
        await page.keyboard.press("Tab")
        await expect(grid.get_by_role("listitem").first).to_be_focused()
        await page.keyboard.press("ArrowRight")
        await expect(grid.get_by_role("listitem").nth(1)).to_be_focused()
        await expect(readout).to_have_text("2: 2 times, to client 1, process A; client 101, process B")
        for key, number in (("ArrowDown", 12), ("ArrowDown", 22), ("ArrowLeft", 21), ("ArrowUp", 11), ("Home", 1)):
            await page.keyboard.press(key)
            await expect(grid.get_by_role("listitem").nth(number - 1)).to_be_focused()
        await page.keyboard.press("End")
        await expect(grid.get_by_role("listitem").last).to_be_focused()
        await expect(readout).to_have_text("50: never handed out")
        await grid.get_by_role("listitem").nth(24).hover()
        await expect(readout).to_have_text("25: once, to client 24, process A")
        await zoom(page)


async def zoom(page: Page) -> None:
    field, scroll = page.locator(".lane-field"), page.locator(".scroll")
    before = await field.evaluate("svg => svg.clientWidth")
    await page.get_by_role("radio", name="4\u00d7").check()
    assert await field.evaluate("svg => svg.clientWidth") == 4 * before
    await expect(page.locator(".fine").first).to_be_visible()
    assert await scroll.evaluate("box => box.scrollWidth > box.clientWidth")
    assert await width_beyond_the_screen(page) == 0
    seen = page.locator(".bar.seen")
    assert await seen.count() == 2
    await seen.first.focus()
    await expect(page.locator(".lanes + .readout")).to_contain_text("part of the witness")
    await page.keyboard.press("Tab")
    await expect(seen.nth(1)).to_be_focused()


async def light_and_dark(browser: Browser, file: Path) -> None:
    walls = set()
    for scheme in ("light", "dark"):
        async with opened(browser, file, color_scheme=scheme, viewport=PHONE, has_touch=True) as page:
            assert await width_beyond_the_screen(page) == 0
            walls.add(await colour(page, "body"))
            kinds = {await colour(page, f".cells .{kind}") for kind in ("once", "more", "never")}
            assert len(kinds) == 3
            await page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
            await page.locator(".cells li").nth(49).tap()
            await expect(page.locator(".cells + .readout")).to_have_text("50: never handed out")
            assert await width_beyond_the_screen(page) == 0
    assert walls == {"rgb(231, 235, 233)", "rgb(20, 24, 26)"}


async def on_paper(browser: Browser, file: Path) -> None:
    """White, with the colours of the cells, with what was folded away and without what only a screen can do."""
    async with opened(browser, file, color_scheme="dark") as page:
        await page.emulate_media(media="print")
        assert await colour(page, "body") == "rgb(255, 255, 255)"
        assert await colour(page, "body", "color") == "rgb(0, 0, 0)"
        assert await colour(page, ".cells .more", "print-color-adjust") == "exact"
        await expect(page.locator(".zoom")).to_be_hidden()
        assert (await page.pdf()).startswith(b"%PDF")
        assert await page.locator("details:not([open])").count() == 0


async def without_the_script(browser: Browser, file: Path) -> None:
    """Also under a policy that lets nothing run: everything is there, and the zoom works."""
    async with visitor(browser, "http://report.invalid/", expect=("Content Security Policy",)) as page:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        answer = {"path": file, "headers": policy, "content_type": "text/html"}
        await page.route("**/*", lambda route: route.fulfill(**answer))
        await page.goto("/")
        assert await colour(page, ".band", "color") == "rgb(255, 255, 255)"
        await expect(page.locator(".readout").first).to_be_hidden()
        await expect(page.locator(".cells li")).to_have_count(50)
        before = await page.locator(".lane-field").evaluate("svg => svg.clientWidth")
        await page.get_by_role("radio", name="2\u00d7").check()
        assert await page.locator(".lane-field").evaluate("svg => svg.clientWidth") == 2 * before
        await page.get_by_text("The same as a table").click()
        await expect(page.get_by_role("row", name="witness").first).to_be_visible()


async def test_many_races_of_every_kind_on_a_phone(tmp_path: Path) -> None:
    """Whatever was raced: no error, no request, nothing runs, and nothing sticks out."""
    told = {"url": f"http://127.0.0.1/{NASTY}{'long' * 99}", "reason": NASTY, "troubles": {NASTY: 1}}
    rows = [
        apart(),
        right(),
        row([add(n, n / 1000, 10 + n, 1 + n // 3) for n in range(600)]),
        right(clients=100, rounds=30),
        row([add(0, 0, None, None, "info")]),
        Foreign([add(0, 0, 10, 2**53), add(1, 5, 20, 2**53)], told),
    ]
    file = tmp_path / "a page & more.html"
    file.write_text(page_of(rows), encoding="utf-8")
    async with chromium() as browser, opened(browser, file, viewport=PHONE) as page:
        assert await width_beyond_the_screen(page) == 0
        await expect(page.get_by_role("article")).to_have_count(6)
        await page.get_by_role("row", name="RACY").first.get_by_role("link").click()
        await expect(page).to_have_url(re.compile("#race-1$"))
        await expect(page.get_by_role("heading", level=2, name=NASTY[:20])).to_be_visible()
