"""Who may do what, on the running service: every route, asked by everybody, every cell of the table asserted."""

import asyncio
import base64
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from e2e.raw import Headers, Reply, ask
from e2e.served import Served, outcome, serve, started
from quart_counter import create_app
from quart_counter.access.tokens import Credential, hash_of, new_token
from quart_counter.web import api, tally

WHO = ("none", "wrong", "expired", "read-only", "other prefix", "admin", "another client's key")
STRANGERS = WHO[:3]
FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
JSON = (("Content-Type", "application/json"),)
SECRET = {"QUART_COUNTER_SECRET_KEY": "good for sixteen bytes"}


class Row(NamedTuple):
    """A route, how it is asked, and the status of each answer in the order of WHO."""

    method: str
    route: str
    statuses: tuple[int, ...]
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    target: str = ""  # where the route is not one

    @property
    def path(self) -> str:
        return self.target or self.route.replace("{name}", "tickets.a").replace("{effect}", "increment")


#           none wrong expired read prefix admin key
READ = (401, 401, 401, 200, 403, 200, 200)
EFFECT = (401, 401, 401, 403, 403, 200, 200)
FORALL = (200, 200, 200, 200, 200, 200, 200)
TABLE = [
    Row("POST", "/counters/{name}/increment", EFFECT),
    Row("POST", "/counters/{name}/take", EFFECT, b'{"limit": 1000}', JSON),
    Row("GET", "/counters/{name}", READ),
    Row("HEAD", "/counters/{name}", READ),
    Row("PUT", "/counters/{name}", EFFECT, b'{"value": 7}', JSON),
    Row("DELETE", "/counters/{name}", EFFECT),
    Row("GET", "/counters", (401, 401, 401, 200, 200, 200, 200)),
    Row("GET", "/session", (401, 401, 401, 200, 200, 200, 200)),
    Row("POST", "/session/{effect}", (401, 401, 401, 403, 200, 200, 200)),
    Row("GET", "/", READ),
    Row("POST", "/", (401, 401, 401, 403, 403, 303, 303), b"action=increment", FORM),
    Row("GET", "/events", READ),
    Row("GET", "/healthz", FORALL),
    Row("GET", "/readyz", FORALL),
    Row("GET", "/metrics", (401, 401, 401, 403, 403, 200, 403)),
    Row("GET", "/openapi.json", FORALL),
    Row("GET", "/docs", FORALL),
    Row("GET", "/static/{filename}", FORALL, target="/static/page.css"),
    # what no route answers
    Row("OPTIONS", "/counters/{name}", (401, 401, 401, 204, 204, 204, 204)),
    Row("PATCH", "/counters/{name}", (401, 401, 401, 403, 403, 405, 403)),
    Row("GET", "/nothing/here", (401, 401, 401, 403, 403, 404, 403)),
    Row("GET", "/static/../metrics", (401, 401, 401, 403, 403, 404, 403)),
    Row("GET", "/counters/{name}/increment", (401, 401, 401, 403, 403, 405, 403)),
    # other spellings of what is there
    Row("GET", "/metrics", (401, 401, 401, 403, 403, 200, 403), target="/%6detrics"),
    Row("GET", "/metrics", (401, 401, 401, 403, 403, 200, 403), target="http://localhost/metrics"),
    Row("GET", "/counters/{name}", READ, target="/counters/%74ickets.a"),
    Row("POST", "/counters/{name}/increment", EFFECT, target="http://localhost/counters/tickets.a/increment"),
    Row("POST", "/counters/{name}/increment", EFFECT, b"0\r\n\r\n", (("Transfer-Encoding", "chunked"),)),
]
CELLS = [(row, who) for row in TABLE for who in WHO]


def routes() -> Iterator[tuple[str, str]]:
    """Every method and route that the app has, and what the API has below /counters."""
    for rule in create_app(mode="lock").url_map.iter_rules():
        path = re.sub(r"<(?:[^:>]*:)?([^>]+)>", r"{\1}", rule.rule)
        if not path.startswith("/counters"):
            yield from ((method, path) for method in rule.methods - {"HEAD", "OPTIONS"})
    yield from [("GET", "/counters"), *((method, "/counters/{name}") for method in ("GET", "PUT", "DELETE"))]
    yield from (("POST", f"/counters/{{name}}/{verb.decode()}") for verb in api._VERBS)


def test_every_route_has_its_row() -> None:
    """Whoever adds a route says here who may use it; until then it is the admins' alone."""
    assert {*routes()} <= {(row.method, row.route) for row in TABLE}
    assert {*tally.ROUTES} - {"/static", "other"} <= {row.route for row in TABLE}, (
        "those that Quart does not know of too"
    )


def test_every_row_says_something_of_everybody() -> None:
    assert {len(row.statuses) for row in TABLE} == {len(WHO)}


class Clients:
    """Tokens for everybody in the table, and a client that was there before."""

    def __init__(self) -> None:
        all_but_admin = ["read", "increment", "set"]
        made: dict[str, tuple[str, Credential]] = {
            "expired": new_token(["admin"]),
            "read-only": new_token(["read"]),
            "other prefix": new_token(all_but_admin, prefixes=["orders.", "tick."]),
            "admin": new_token(["admin"], id="boss"),
            "another client's key": new_token(all_but_admin, id="two"),
            "first": new_token(all_but_admin, prefixes=["tickets."], id="one"),
        }
        self.tokens = {who: token for who, (token, _) in made.items()} | {"wrong": new_token(["admin"])[0]}
        self.lines = [kept.line() for who, (_, kept) in made.items() if who != "expired"]
        self.lines.append(made["expired"][1].line().replace(" sha256=", " expires=2001-01-01T00:00:00Z sha256="))

    def headers(self, who: str) -> Headers:
        return [("Authorization", f"Bearer {self.tokens[who]}")] if who in self.tokens else []


CLIENTS = Clients()


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    file = written(tmp_path_factory.mktemp("access") / "tokens", "\n".join(CLIENTS.lines))
    async with serve("--tokens", str(file), "--with-redis", "--workers", "2") as served:
        yield served


async def asked(service: Served, who: str, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Reply:
    return await ask(service.url, method, target, [*headers, *CLIENTS.headers(who)], body)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("row", "who"), CELLS, ids=lambda word: word if isinstance(word, str) else " ".join(word[:2]))
async def test_a_cell(service: Served, row: Row, who: str) -> None:
    """The status is right; whoever is turned away has changed nothing; nobody gets another one's record."""
    # the session and the page refuse keys, from everybody
    keys = [("Idempotency-Key", f"{TABLE.index(row)}")] if row.route.startswith("/counters") else []
    first = await asked(service, "first", row.method, row.path, [*row.headers, *keys], row.body)  # it has a key by now
    before = (await asked(service, "admin", "GET", "/counters/tickets.a")).json
    reply = await asked(service, who, row.method, row.path, [*row.headers, *keys], row.body)
    assert reply.status == row.statuses[WHO.index(who)], reply.body
    if who in STRANGERS and reply.status == 401:
        stranger = await asked(service, "none", "GET", "/no/such/path")
        assert (reply.body if row.method != "HEAD" else stranger.body) == stranger.body
        assert reply.header("www-authenticate")
    if reply.status in (401, 403):
        assert (await asked(service, "admin", "GET", "/counters/tickets.a")).json == before
        return
    if "/{name}/" in row.route and row.method == "POST":
        assert reply.header("idempotency-replayed") is None
        again = await asked(service, who, row.method, row.path, [*row.headers, *keys], row.body)
        assert (again.header("idempotency-replayed"), again.json) == ("true", reply.json)
        assert first.status == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_refusals_do_not_tell_which_counters_there_are(service: Served) -> None:
    await asked(service, "first", "POST", "/counters/tickets.here/increment")
    for who in (*STRANGERS, "other prefix"):
        replies = [await asked(service, who, "GET", f"/counters/tickets.{name}") for name in ("here", "not-here")]
        assert replies[0].body == replies[1].body
        assert [word for word, _ in replies[0].headers] == [word for word, _ in replies[1].headers]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_listing_shows_each_its_own(service: Served) -> None:
    for name in ("apples", "orders.1", "orders.2", "orderz", "tickets.1", "tick.1", "ticket"):
        await asked(service, "admin", "POST", f"/counters/{name}/increment")

    async def listed(who: str, query: str = "") -> tuple[list[str], Any]:
        page = (await asked(service, who, "GET", f"/counters{query}")).json
        return [row["name"] for row in page["counters"]], page["next"]

    assert await listed("other prefix") == (["orders.1", "orders.2", "tick.1"], None)
    assert await listed("other prefix", "?limit=2") == (["orders.1", "orders.2"], "orders.2")
    assert await listed("other prefix", "?limit=2&after=orders.2") == (["tick.1"], None)
    assert await listed("other prefix", "?after=zebra") == ([], None)
    assert "apples" in (await listed("read-only"))[0]


@pytest.mark.asyncio(loop_scope="module")
async def test_only_admins_are_told_what_the_store_is(service: Served) -> None:
    for who in WHO:
        told = (await asked(service, who, "GET", "/readyz")).json
        assert told["ready"] is True
        assert ("guarantees" in told) is (who == "admin")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_browser_sends_its_token_as_a_password(service: Served) -> None:
    challenges = [value for word, value in (await ask(service.url, "GET", "/")).headers if word == "www-authenticate"]
    assert [challenge.split(" ")[0] for challenge in challenges] == ["Bearer", "Basic"]
    word = base64.b64encode(f"me:{CLIENTS.tokens['admin']}".encode()).decode()
    assert (await ask(service.url, "GET", "/", [("Authorization", f"Basic {word}")])).status == 200
    for wrong in ("", "!!!", word[:-8], base64.b64encode(b"\xff:\xff").decode()):
        assert (await ask(service.url, "GET", "/", [("Authorization", f"Basic {wrong}")])).status == 401


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Token {}", "{}", "Bearer {} {}", "Bearer \xff", "Bearer a,b"]
)
async def test_a_header_that_says_nothing_is_a_strangers(service: Served, header: str) -> None:
    headers = [("Authorization", header.replace("{}", CLIENTS.tokens["admin"]))]
    assert (await ask(service.url, "GET", "/metrics", headers)).status == 401
    assert (await ask(service.url, "GET", "/metrics", [*CLIENTS.headers("admin")] * 2)).status == 401


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("target", ["metrics", "x:/metrics", "x:metrics", "http:/metrics", "a://b?://c/healthz", "*"])
async def test_an_odd_target_is_what_it_was_judged_as(service: Served, target: str) -> None:
    """Access and routing must not disagree on what is asked for: only an admin sees /metrics, however it is written."""
    for who in ("none", "read-only", "other prefix"):
        reply = await asked(service, who, "GET", target)
        assert b"quart_counter_info" not in reply.body
        assert reply.status != 500


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("target", "status"), [("/events", 401), ("/counters", 401), ("/metrics", 401), ("/healthz", 200)]
)
async def test_a_websocket_is_no_way_in(service: Served, target: str, status: int) -> None:
    """The offer is passed over, and the request is what it is without it."""
    offer = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    assert (await asked(service, "none", "GET", target, [*offer, key])).status == status


# Starting


async def test_tokens_in_the_environment_and_a_token_from_the_command_line() -> None:
    async with started("token", "new", "--scope", "read,increment", "--prefix", "a.", "--id", "web") as command:
        assert await command.status() == 0
    token, line = (word for word in command.said if word.startswith(("qc_", "id=")))
    assert f"id=web scope=read,increment prefix=a. sha256={hash_of(token)}" == line
    async with serve(QUART_COUNTER_TOKENS=line) as served:
        assert "clients with a token" in " ".join(served.said)
        bearer = [("Authorization", f"Bearer {token}")]
        assert (await ask(served.url, "POST", "/counters/a.b/increment", bearer)).json["value"] == 1
        assert (await ask(served.url, "POST", "/counters/b/increment", bearer)).status == 403
        assert not any(token in said for said in served.said)


async def test_a_token_in_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    for scope in ("admin", "read"):
        status, said = await outcome("token", "new", "--scope", scope, "--file", str(path))
        assert status == 0, said
        assert "sha256" not in said
    assert len(path.read_text().splitlines()) == 2
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_file_without_a_line_means_nobody_and_a_worker_is_replaced_with_it(tmp_path: Path) -> None:
    """Whoever removes the only token has revoked it."""
    token, known = new_token(["admin"])
    file = tmp_path / "tokens"
    file.write_text(known.line())
    bearer = [("Authorization", f"Bearer {token}")]
    async with serve("--url", f"sqlite:{tmp_path}/counters.db", "--tokens", str(file)) as served:
        assert (await ask(served.url, "GET", "/counters", bearer)).status == 200
        file.write_text("# nobody\n")
        await answers(served, 401, bearer)
        await served.says("so nobody is let in")
        os.kill(served.workers[0], signal.SIGKILL)
        assert (await ask(served.url, "GET", "/counters", bearer)).status == 401, "the next worker takes the connection"
        file.write_text(known.line())
        await answers(served, 200, bearer)


async def answers(served: Served, status: int, headers: Headers) -> None:
    """Wait for this answer; the file of tokens is read a second after it was written, at the latest."""
    for _ in range(100):
        if (await ask(served.url, "GET", "/counters", headers)).status == status:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"no {status} within 10 s")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bind", "0.0.0.0:0"], "give --tokens FILE"),
        (["--bind", "[::]:0"], "give --tokens FILE"),
        (["--bind", "0.0.0.0:0", "--open"], "no secret_key"),
        (["--bind", "127.0.0.1:0", "--proxies", "1"], "give --tokens FILE"),
        (["--bind", "127.0.0.1:0", "--proxies", "1", "--open"], "no secret_key"),
        (["--bind", "127.0.0.1:0", "--proxies", "1", "--demo"], "the demo is for this one alone"),
        (["--tokens", "/nonexistent"], "cannot be read"),
        (["--tokens", "id=a scope=read sha256=x"], "sha256 must be 64"),
    ],
)
async def test_what_does_not_start(arguments: list[str], sentence: str) -> None:
    status, said = await outcome("serve", *arguments)
    assert status == 2
    assert sentence in said
    assert "Traceback" not in said


async def test_open_when_it_is_said_out_loud() -> None:
    async with started("serve", "--bind", "0.0.0.0:0", "--open", **SECRET) as served:
        assert await served.says("open to +whoever reaches it, without a token")
        url = (await served.says(r"listening on\s+(http://\S+)"))[1].replace("0.0.0.0", "127.0.0.1")
        assert (await ask(url, "POST", "/counters/tickets/increment")).json["value"] == 1
        by_name = await ask(url, "POST", "/counters/tickets/increment", [("Host", "counters.example.org")])
        assert by_name.json["value"] == 2


# Cookies


async def test_cookies_are_secure_behind_a_proxy_that_says_so() -> None:
    async with serve("--proxies", "1", "--open", **SECRET) as served:
        for scheme, secure in (
            ("https", True),
            ("http", False),
            ("https, http", False),
            ("http,https", True),
            ("x", False),
        ):
            reply = await ask(served.url, "POST", "/session/increment", [("X-Forwarded-Proto", scheme)])
            cookie = reply.header("set-cookie") or ""
            assert ("Secure" in cookie) is secure, scheme
            assert "HttpOnly" in cookie
            assert "SameSite=Lax" in cookie


async def test_nobody_believes_a_proxy_that_was_not_named() -> None:
    async with serve() as served:
        reply = await ask(served.url, "POST", "/session/increment", [("X-Forwarded-Proto", "https")])
        assert "Secure" not in (reply.header("set-cookie") or "Secure")
