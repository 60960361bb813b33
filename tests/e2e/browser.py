"""A real Chromium. Every page that it opens fails its test on a console error or a request to anybody else."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect
from servers import lacking

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_MS = 20_000
expect.set_options(timeout=PATIENCE_MS)


def find() -> str:
    """The browser on this machine; else the test is skipped, or fails."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        lacking("no Chromium on this machine: `apt-get install chromium` mends it")
    return program


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    program = find()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visitor(browser: Browser, url: str, expect: tuple[str, ...] = (), **how: Any) -> AsyncIterator[Page]:
    """A page of a browser of its own. `expect`: what the console may say."""
    wrong: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(words in message.text for words in expect):
            wrong.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if not request.url.startswith(url):
            wrong.append(f"it asked for {request.url}")

    context = await browser.new_context(base_url=url, **how)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", heard)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("request", asked)
    try:
        yield page
    finally:
        await context.close()
    assert not wrong, wrong


async def width_beyond_the_screen(page: Page) -> int:
    return int(await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
