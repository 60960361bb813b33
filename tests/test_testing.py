"""quart_counter.testing as its users have it: three lines in a test, in process or over a socket."""

import asyncio
import re
import sys
import textwrap
from pathlib import Path

import pytest
from e2e.raw import hypercorn
from quart import Quart, request, session

from quart_counter.errors import ConfigurationError
from quart_counter.testing import assert_unique_numbers, race

pytest_plugins = ["pytester", "quart_counter.pytest_plugin"]


def counting(pause: bool = False, **more) -> Quart:
    """A Quart app that counts, right or (with an await between reading and writing) wrong."""
    app = Quart(__name__)
    app.secret_key = "secret"
    app.number = None

    @app.before_serving
    async def start():
        assert app.number is None, "started twice"
        app.number = 0

    @app.after_serving
    async def stop():
        app.stopped = True

    @app.post("/tickets")
    async def tickets():
        seen = app.number
        if pause:
            await asyncio.sleep(0)
        app.number = seen + 1
        return {"value": app.number}

    @app.post("/mine")
    async def mine():
        session["n"] = session.get("n", 0) + 1
        return f"You are number {session['n']}"

    @app.post("/add")
    async def add():
        asked = await request.get_json()
        assert (asked, request.headers["X-Who"], request.args["q"]) == ({"by": 1}, "me", "a b")
        return await tickets()

    @app.get("/tickets")
    async def read():
        return str(app.number)

    @app.post("/broken")
    async def broken():
        raise ZeroDivisionError("by zero")

    return app


async def test_a_right_app_passes_and_is_stopped():
    app = counting()
    seen = await assert_unique_numbers(app, "POST /tickets")
    assert sorted(seen.numbers) == list(range(1, 102)), "100 clients, and one to see where the number is"
    assert (seen.verdict, seen.max_in_flight, app.stopped) == ("NO_RACE_SEEN", 100, True)


async def test_a_racy_app_fails_with_lanes_and_a_diagnosis():
    with pytest.raises(AssertionError) as failure:
        await assert_unique_numbers(counting(pause=True), "POST /tickets", clients=10)
    told = str(failure.value)
    assert "RACY: 9 answers repeat a number" in told
    assert len(re.findall(r"^client \d+ +\|-+ add 1 -> 2 -+\|$", told, re.MULTILINE)) == 2
    assert re.search(r"^  cause .*\n(.*\n)*  remedy ", told, re.MULTILINE)


async def test_the_same_interleaving_every_time():
    numbers = [(await race(counting(pause=True), "POST /tickets", clients=20)).numbers for _ in range(3)]
    assert numbers[0] == numbers[1] == numbers[2]


async def test_a_request_says_all_it_needs():
    how = {"json": {"by": 1}, "headers": {"X-Who": "me"}, "answer": "json:/value", "read": "/tickets", "start": 0}
    seen = await assert_unique_numbers(counting(), "POST /add?q=a+b", clients=5, requests=20, **how)
    assert (seen.document()["requests"], seen.final) == (20, 20)


async def test_each_client_may_have_its_own_number():
    assert (await race(counting(), "POST /mine", clients=5, per_client=True)).verdict == "NO_RACE_SEEN"
    assert (await race(counting(), "POST /mine", clients=5)).diagnosis.kind == "constant"


async def test_an_app_that_runs_already_is_not_started_again():
    async with counting().test_app() as running:
        seen = await race(running.app, "POST /tickets", clients=5, lifespan=False)
    assert seen.verdict == "NO_RACE_SEEN"


async def test_a_url_of_any_server():
    async with hypercorn(counting()) as url:
        assert (await assert_unique_numbers(url, "POST /tickets", clients=20)).url == f"{url}/tickets"


async def asgi(scope, receive, send):
    """An app of nobody's making: no lifespan, a body in two pieces."""
    assert scope["type"] == "http", "this app knows of no lifespan"
    assert (await receive())["body"] == b""
    asgi.number += 1
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"num", "more_body": True})
    await send({"type": "http.response.body", "body": b"ber %d" % asgi.number})
    assert (await receive())["type"] == "http.disconnect"


asgi.number = 0


async def test_any_asgi_app():
    assert len((await assert_unique_numbers(asgi, "GET /", clients=10)).numbers) == 11


async def test_what_an_app_raises_is_told():
    async def fails(scope, receive, send):
        raise KeyError("tickets")

    with pytest.raises(ConfigurationError, match=r"got no answer .the app raised KeyError: 'tickets'"):
        await race(fails, "POST /")
    seen = await race(fails, "POST /", clients=3, answer="json:")
    assert (seen.verdict, seen.troubles) == ("INCONCLUSIVE", {"the app raised KeyError: 'tickets'": 3})
    with pytest.raises(ConfigurationError, match="answered 500"):
        await race(counting(), "POST /broken")


async def test_what_an_app_does_after_its_answer_is_let_end():
    """As background tasks do; the answer counts from when it is whole."""
    done = []

    async def works_on(scope, receive, send):
        if scope["type"] == "http":
            await asgi(scope, receive, send)
            await asyncio.sleep(0.2)
            done.append(1)

    seen = await race(works_on, "POST /", clients=5, answer=r"regex:\d+", timeout_s=0.1)
    assert (seen.verdict, seen.troubles, done) == ("NO_RACE_SEEN", {}, [1] * 5)


async def test_an_app_that_hangs_is_cancelled():
    cancelled = []

    async def hangs(scope, receive, send):
        if scope["type"] == "http":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

    seen = await race(hangs, "POST /", clients=3, answer="json:", timeout_s=0.1)
    assert (seen.document()["unknown"], cancelled) == (3, [1, 1, 1])


async def test_an_app_that_does_not_start_is_told():
    app = counting()
    app.number = 1
    with pytest.raises(ConfigurationError, match=r"the app does not start: .*started twice"):
        await race(app, "POST /tickets")


async def test_nothing_proved_is_nothing_passed():
    with pytest.raises(AssertionError, match="INCONCLUSIVE: only 1 of 1 clients"):
        await assert_unique_numbers(counting(), "POST /tickets", clients=1)


class Wsgi:
    """What a Flask app looks like from outside."""

    def wsgi_app(self, environ, start_response): ...
    def __call__(self, environ, start_response): ...


@pytest.mark.parametrize(
    ("app", "asked", "sentence"),
    [
        (Wsgi(), "POST /", "Wsgi is no ASGI app: run it under its server and race its URL"),
        (None, "POST /", "NoneType is no ASGI app"),
        (asgi, "tickets", "'tickets' is not a request: write it as 'POST /tickets'"),
        ("localhost:5000", "POST /", "'localhost:5000' is neither an ASGI app nor a URL"),
    ],
)
async def test_what_cannot_be_raced_is_one_sentence(app, asked, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        await race(app, asked)


APP = """
    import asyncio
    from quart import Quart

    app, numbers = Quart(__name__), [0]

    @app.post("/tickets")
    async def tickets():
        number = numbers[0]
        {pause}
        numbers[0] = number + 1
        return {{"value": numbers[0]}}
"""

ASYNC = """
    import pytest
    from quart_counter.testing import assert_unique_numbers
    from app import app

    {mark}
    async def test_tickets():
        await assert_unique_numbers(app, "POST /tickets", clients=100)
"""

SYNC = """
    from app import app

    def test_tickets(race):
        assert race(app, "POST /tickets").verdict == "NO_RACE_SEEN"
"""


@pytest.fixture
def their_tests(pytester, monkeypatch):
    """Run somebody's tests of somebody's app in this process; return the result."""
    monkeypatch.delitem(sys.modules, "app", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # ours are not theirs

    def run(test, *arguments, pause):
        app = APP.format(pause="await asyncio.sleep(0)" if pause else "")
        pytester.makepyfile(app=textwrap.dedent(app), test_somebodys_tickets=textwrap.dedent(test))
        return pytester.runpytest_inprocess("-p", "no:schemathesis", "-p", "no:valkey", *arguments)

    yield run
    sys.modules.pop("app", None)


@pytest.mark.parametrize(
    ("mode", "mark", "pause"), [("auto", "", True), ("strict", "@pytest.mark.asyncio", False)], ids=["auto", "strict"]
)
def test_three_lines_in_somebodys_test(their_tests, mode, mark, pause):
    """The right app passes; the failure of the racy one shows the lanes and not our insides."""
    options = f"-oasyncio_mode={mode}", "-oasyncio_default_fixture_loop_scope=function"
    result = their_tests(ASYNC.format(mark=mark), *options, pause=pause)
    result.assert_outcomes(passed=not pause, failed=pause)
    if pause:
        result.stdout.fnmatch_lines(["E*RACY: 99 answers repeat*", "E*cause*", "E*client *  |--*-- add 1 -> 2 --*--|"])
        result.stdout.no_fnmatch_line("*testing.py*")


def test_without_an_asyncio_plugin(their_tests):
    result = their_tests(SYNC, "-p", "no:asyncio", "-p", "quart_counter.pytest_plugin", pause=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 'RACY' == 'NO_RACE_SEEN'*"])


@pytest.mark.parametrize("wrong", [False, True])
def test_the_fixture_runs_where_no_loop_does(race, wrong):
    assert race(counting(pause=wrong), "POST /tickets", clients=3).verdict == ("RACY" if wrong else "NO_RACE_SEEN")


async def test_the_fixture_is_awaited_where_a_loop_runs(race):
    assert (await race(counting(), "POST /tickets", clients=3)).verdict == "NO_RACE_SEEN"


PAGE = Path(__file__).parents[1] / "docs" / "test-your-own-app.md"


async def test_the_page_is_true():
    """Its tests pass on a right app; on a racy one the first fails as the page shows it, but for the times."""
    first, second, plugin = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    right, racy = {"app": counting()}, {"app": counting(pause=True)}
    exec(plugin + first + second, right)  # the page's own words
    assert right["pytest_plugins"] == ["quart_counter.pytest_plugin"]
    await right["test_tickets"]()
    right["app"].number = None
    await right["test_tickets_of_each_client"]()
    exec(first, racy)
    with pytest.raises(AssertionError) as failure:
        await racy["test_tickets"]()
    (shown,) = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert untimed(line.removeprefix("E") for line in shown.splitlines()) == untimed(
        f"AssertionError: {failure.value}".splitlines()
    )


def test_the_plain_test_of_the_page_is_true(race):
    """The one that takes the fixture."""
    plain = {"app": counting()}
    exec(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)[-1], plain)
    plain["test_tickets"](race)


def untimed(lines):
    """The lines without those whose columns follow the clock."""
    return [line.strip() for line in lines if not re.search(r"\|--|\d ms|^ *0 ", line)]
