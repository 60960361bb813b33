"""The page in a real Chromium: two browsers see the same number move, and it works without JavaScript."""

from playwright.async_api import Page, expect

from e2e.browser import chromium, visitor, width_beyond_the_screen
from e2e.raw import ask
from e2e.served import serve


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def test_the_page() -> None:
    async with serve() as served, chromium() as browser:
        async with visitor(browser, served.url) as alice, visitor(browser, served.url) as bob:
            for page in (alice, bob):
                await page.goto("/")
                await expect(page.locator(".lamp")).to_have_attribute("data-state", "on")
            await press(alice, "+1")
            await expect(alice.get_by_text("You are number 1")).to_be_visible()
            await expect(bob.locator(".value")).to_have_text("1")
            await expect(bob.locator(".so-far")).to_have_text("1 change")
            await ask(
                served.url, "PUT", "/counters/visits", [("Content-Type", "application/json")], b'{"value": 1234567}'
            )
            for page in (alice, bob):
                await expect(page.locator(".value")).to_have_text("1234567")
                await expect(page.locator(".value")).to_have_attribute("data-widest", "8")
                await expect(page).to_have_title("1234567 · visits")
            await expect(alice.get_by_text("You are number 1")).to_be_visible()  # which is still so
            await press(bob, "reset")
            await expect(alice.locator(".value")).to_have_text("0")
        async with visitor(browser, served.url, java_script_enabled=False) as page:
            await page.goto("/")
            await expect(page.locator(".lamp")).to_be_hidden()
            await press(page, "+1")
            await expect(page.get_by_text("You are number 1")).to_be_visible()
        async with visitor(browser, served.url, viewport={"width": 360, "height": 740}) as page:
            await page.goto("/")
            assert await width_beyond_the_screen(page) == 0


async def test_a_page_that_nobody_looks_at_keeps_no_connection_and_one_comes_back() -> None:
    """Six open tabs would use up all connections that a browser has to one host."""
    async with (
        serve("--max-streams", "1") as served,
        chromium() as browser,
        visitor(browser, served.url, expect=("503",)) as first,
        visitor(browser, served.url) as second,
    ):
        await first.goto("/")
        await expect(first.locator(".lamp")).to_have_attribute("data-state", "on")
        await hide(first, True)
        await second.goto("/")
        await expect(second.locator(".lamp")).to_have_attribute("data-state", "on")  # there is room
        await hide(first, False)
        await expect(first.locator(".lamp")).to_have_attribute("data-state", "off")  # there is none: it looks
        await ask(served.url, "POST", "/counters/visits/increment")
        await hide(first, True)
        await hide(first, False)
        await expect(first.locator(".value")).to_have_text("1")


async def hide(page: Page, hidden: bool) -> None:
    await page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
