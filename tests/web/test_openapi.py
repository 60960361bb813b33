"""/openapi.json and /docs say what is so: every route, every status, no other, each proved by a real answer."""

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from e2e.raw import Headers, Reply, hypercorn
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from quart import Quart
from servers import require_program

from quart_counter import create_app
from quart_counter.access.tokens import new_token
from quart_counter.model import MAX_BY, MAX_VALUE, Applied, Change, NotApplied, OutcomeUnknown, Reading, check_change
from quart_counter.stores import StoreAway
from quart_counter.stores.memory import MemoryStore
from quart_counter.web import api, docs, openapi, parse
from quart_counter.web.answers import Problem
from web.faces import Face, by_client

DOCUMENT = json.loads(json.dumps(openapi.document("1.2.3", key_life_s=86_400.0, body_timeout_s=5)))
OPERATIONS = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
JSON = (("Content-Type", "application/json"),)
READER = new_token(["read"])
FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
EFFECTS = [("POST", "/counters/{name}/increment"), ("POST", "/counters/{name}/take")]
EFFECTS += [("PUT", "/counters/{name}"), ("DELETE", "/counters/{name}")]
GOOD = {"increment": b"", "take": b'{"limit": 1000000}', "PUT": b'{"value": 7}', "DELETE": b""}


def against(schema: dict[str, Any], content: Any) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(content)


# The document itself


def test_it_is_an_openapi_document() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert [*OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_it_says_what_the_app_was_made_with() -> None:
    key = openapi.document("1", key_life_s=7200.0, body_timeout_s=5)["components"]["parameters"]["IdempotencyKey"]
    assert key["x-idempotency-key-life-seconds"] == 7200.0
    assert "at least 2 hours." in key["description"]


async def test_the_app_serves_it_with_its_own_settings() -> None:
    async with by_client(create_app(mode="lock", key_life_s=90)) as face:
        served = (await face("GET", "/openapi.json")).json
        page = (await face("GET", "/docs")).body.decode()
    assert served["components"]["parameters"]["IdempotencyKey"]["x-idempotency-key-life-seconds"] == 90
    assert served["paths"] == DOCUMENT["paths"]
    assert "at least 90 seconds" in page


async def test_it_says_who_may_do_what_where_tokens_are_in_force() -> None:
    async with by_client(create_app(mode="lock", tokens=READER[1].line())) as face:
        guarded = (await face("GET", "/openapi.json")).json
    assert [*OpenAPIV31SpecValidator(guarded).iter_errors()] == []
    asked = {
        (method, path): (operation["security"] or [{"bearer": None}])[0]["bearer"]
        for path, methods in guarded["paths"].items()
        for method, operation in methods.items()
    }
    assert asked["put", "/counters/{name}"] == ["set"]
    assert asked["post", "/"] == ["increment", "set"]
    assert asked["get", "/metrics"] == ["admin"]
    assert asked["get", "/healthz"] is None
    assert not any("security" in operation for operation in OPERATIONS.values())


def test_every_route_of_the_app_is_there() -> None:
    """What lies below /counters is the API's own affair: its verbs are asked below, its paths here."""
    rules = {
        re.sub(r"<(?:[^:>]*:)?([^>]+)>", r"{\1}", rule.rule) for rule in create_app(mode="lock").url_map.iter_rules()
    }
    counters = {"/counters", "/counters/{name}", *(f"/counters/{{name}}/{verb.decode()}" for verb in api._VERBS)}
    assert rules - {"/counters/{rest}", "/static/{filename}"} | counters == {*DOCUMENT["paths"]}


async def test_every_method_of_every_path_is_there() -> None:
    async with by_client(create_app(mode="lock")) as face:
        for path, methods in DOCUMENT["paths"].items():
            allow = (await face("OPTIONS", filled(path))).header("allow") or ""
            assert {*allow.split(", ")} - {"HEAD", "OPTIONS"} == {method.upper() for method in methods}, path


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len({*names}) == len(names)
    assert {tag for operation in OPERATIONS.values() for tag in operation["tags"]} == {
        tag["name"] for tag in DOCUMENT["tags"]
    }


def examples() -> Iterator[Any]:
    responses = [*DOCUMENT["components"]["responses"].values()]
    for operation in OPERATIONS.values():
        responses += [*operation["responses"].values(), operation.get("requestBody", {})]
    for response in responses:
        for content in response.get("content", {}).values():
            for example in content.get("examples", {}).values():
                yield content["schema"], example["value"]


def test_its_examples_are_examples() -> None:
    assert len([*examples()]) > 100
    for schema, example in examples():
        against(schema, example)


# Real answers


def filled(path: str) -> str:
    return path.replace("{name}", "tickets").replace("{effect}", "increment")


class Asked(NamedTuple):
    """A request to a path of the document that gets this status."""

    status: int
    method: str
    path: str
    headers: Headers = ()
    body: bytes = b""
    instead: str = ""  # the target, where it is not the plain one


def every_way_to_ask() -> Iterator[Asked]:
    for method, path in OPERATIONS:
        yield Asked(431, method, path, (("X-Long", "x" * 20_000),))
        yield Asked(400, method, path, (("Content-Length", "0"), ("Transfer-Encoding", "chunked")))
        if path.startswith("/counters") or method == "POST":
            yield Asked(413, method, path, FORM if path == "/" else JSON, b" " * (parse.MAX_BODY + 1))
        if "{name}" in path:
            yield Asked(400, method, path, instead=path.replace("{name}", "%ff"))
        if method == "POST" and "{name}" not in path:
            yield Asked(422, method, path, (("Idempotency-Key", "k"),))
            yield Asked(400, method, path, (("Idempotency-Key", "a b"),))
        if method != "GET":
            yield Asked(403, method, path, (("Sec-Fetch-Site", "cross-site"),))
            yield Asked(400, method, path, (("Origin", "http://a"), ("Origin", "http://a")))
        elif path not in ("/counters", "/counters/{name}"):
            yield Asked(200, method, path)
    for method, path in EFFECTS:
        verb = method if method != "POST" else path.rsplit("/")[-1]
        headers, body = JSON if GOOD[verb] else (), GOOD[verb]
        yield Asked(200, method, path, headers, body)
        for _ in range(2):
            yield Asked(200, method, path, (*headers, ("Idempotency-Key", verb)), body)
        other = {"take": b'{"limit": 5}', "PUT": b'{"value": 9}', "increment": b'{"by": 2}'}.get(verb)
        if other:
            yield Asked(422, method, path, (*JSON, ("Idempotency-Key", verb)), other)
        yield Asked(422, method, path, (*headers, ("Idempotency-Key", "01993c7e-9a00-7b3a-8f21-5d0c6e4b9a17")), body)
        yield Asked(422, method, path, (*headers, ("Idempotency-Key", "fffffffe-9a00-7b3a-8f21-5d0c6e4b9a17")), body)
        yield Asked(412, method, path, (*headers, ("If-Match", '"99999"')), body)
        yield Asked(400, method, path, (*headers, ("If-Match", "7")), body)
        yield Asked(400, method, path, (*headers, ("Idempotency-Key", "a b")), body)
        yield Asked(400, method, path, JSON, b"{")
        yield Asked(415, method, path, (), b"{}")
        yield Asked(422, method, path, JSON, b'{"nonsense": 1}')
    yield Asked(409, "POST", "/counters/{name}/take", JSON, b'{"limit": -5}')
    yield Asked(200, "PUT", "/counters/{name}", JSON, b'{"value": %d}' % MAX_VALUE)
    yield Asked(409, "POST", "/counters/{name}/increment")
    yield Asked(409, "POST", "/counters/{name}/take", JSON, b'{"limit": %d}' % MAX_VALUE)
    yield Asked(200, "GET", "/counters/{name}")
    yield Asked(200, "GET", "/counters")
    yield Asked(422, "GET", "/counters", instead="/counters?limit=0")
    yield Asked(422, "GET", "/counters", instead="/counters?page=1")
    yield Asked(200, "POST", "/session/{effect}")
    yield Asked(404, "POST", "/session/{effect}", instead="/session/nothing")
    yield Asked(303, "POST", "/", FORM, b"action=increment")
    yield Asked(422, "POST", "/", FORM, b"action=nothing")


def documented(asked: Asked, reply: Reply) -> None:
    """Fail unless the document says just this about the answer."""
    assert reply.status == asked.status, (asked, reply.body)
    conforms(OPERATIONS[asked.method, asked.path]["responses"][str(reply.status)], reply, asked.status)


def conforms(response: dict[str, Any], reply: Reply, status: int) -> None:
    assert reply.status == status
    told = {name.lower() for name in response.get("headers", ())}
    sent = {name for name, _ in reply.headers} & {name.lower() for name, _ in openapi.HEADERS.values()}
    assert told - {"idempotency-replayed"} <= sent <= told
    if "content" not in response:
        return
    ((media, content),) = response["content"].items()
    assert (reply.header("content-type") or "").startswith(media)
    if "json" in media:
        against(content["schema"], reply.json)
        assert {*reply.json} in fields_of(content["schema"])


def fields_of(schema: dict[str, Any]) -> Sequence[set[str]]:
    """The fields that answers of this schema have: all of them, and no others. Schemas leave room, answers do not."""
    refs = [one["$ref"].rsplit("/")[-1] for one in schema.get("anyOf", [schema])]
    if refs == ["Document"]:
        return [{*DOCUMENT}]
    return [{*DOCUMENT["components"]["schemas"][ref]["properties"]} for ref in refs]


class _Told:
    """A store that says what it is told to say."""

    guarantees = MemoryStore.guarantees

    def __init__(self, outcome: NotApplied | OutcomeUnknown) -> None:
        self._outcome = outcome

    async def apply(self, changes: Sequence[Change]) -> Sequence[Any]:
        return [self._outcome for _ in changes]

    async def read(self, name: str) -> Reading:
        raise StoreAway("gone")

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        raise StoreAway("gone")


def with_store_trouble() -> Iterator[tuple[NotApplied | OutcomeUnknown, Asked]]:
    for status, outcome in ((503, NotApplied("busy")), (504, OutcomeUnknown("hung up"))):
        for method, path in EFFECTS:
            body = GOOD[method if method != "POST" else path.rsplit("/")[-1]]
            for key in ((), (("Idempotency-Key", "k"),)):
                yield outcome, Asked(status, method, path, (*JSON, *key), body)
        yield outcome, Asked(status, "POST", "/session/{effect}")
        yield outcome, Asked(303, "POST", "/", FORM, b"action=increment")
    for path in ("/counters", "/counters/{name}", "/session", "/", "/readyz"):
        yield NotApplied("busy"), Asked(503, "GET", path)


async def send_slowly(app: Quart, asked: Asked) -> Reply:
    """Announce a body that does not come."""
    sent: list[Any] = []
    messages = iter([{"type": "http.request", "body": b"", "more_body": True}])

    answered = asyncio.Event()

    async def receive() -> Any:
        message = next(messages, None)
        if message is None:  # as servers do: nothing more, and the end of the connection after the answer
            await answered.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    scope = {"type": "http", "http_version": "1.1", "scheme": "http", "method": asked.method, "query_string": b""}
    headers = [
        (b"host", b"localhost"),
        (b"content-length", b"9"),
        (b"content-type", b"application/x-www-form-urlencoded"),
    ]
    await app({**scope, "path": filled(asked.path), "headers": headers}, receive, send)
    head, body = sent[0], b"".join(message.get("body", b"") for message in sent[1:])
    return Reply(head["status"], [(name.decode().lower(), value.decode()) for name, value in head["headers"]], body)


@pytest.fixture
async def app() -> Quart:
    return create_app(mode="lock", secret_key="for this test alone")


@pytest.fixture
async def face(app: Quart) -> AsyncIterator[Face]:
    async with by_client(app) as face:
        yield face


async def test_every_status_is_answered_as_documented_and_no_other(app: Quart, face: Face) -> None:
    """Both ways: what is answered is documented, and what is documented is answered by some request here."""
    seen = set()
    for asked in every_way_to_ask():
        reply = await face(asked.method, asked.instead or filled(asked.path), asked.headers, asked.body)
        documented(asked, reply)
        seen.add((asked.method, asked.path, reply.status))
    entered = await face("POST", "/session/increment")
    cookie = (entered.header("set-cookie") or "").partition(";")[0]
    counters = app.extensions["quart_counter"]
    for outcome, asked in with_store_trouble():
        counters._store = _Told(outcome)
        headers = (*asked.headers, ("Cookie", cookie)) if asked.path.startswith("/session") else asked.headers
        documented(asked, await face(asked.method, filled(asked.path), headers, asked.body))
        seen.add((asked.method, asked.path, asked.status))
    app.config["BODY_TIMEOUT"] = 0.01
    for (method, path), operation in OPERATIONS.items():
        if "408" in operation["responses"]:
            asked = Asked(408, method, path)
            documented(asked, await send_slowly(app, asked))
            seen.add((method, path, 408))
    told = {(*where, int(status)) for where, operation in OPERATIONS.items() for status in operation["responses"]}
    assert seen == told


async def test_what_any_path_can_answer(app: Quart, face: Face) -> None:
    responses = DOCUMENT["components"]["responses"]
    for path in ("/nothing", "/counters/a/b", "/session/nothing"):
        conforms(responses["NotFound"], await face("GET", path), 404)
    for path in DOCUMENT["paths"]:
        conforms(responses["MethodNotAllowed"], await face("PATCH", filled(path)), 405)
        conforms(responses["TooLong"], await face("GET", f"{filled(path)}?{'x' * 9000}"), 414)
        conforms(responses["Misdirected"], await face("GET", filled(path), [("Host", "evil.example")]), 421)
        conforms(responses["NotImplemented"], await face("GET", filled(path), [("Transfer-Encoding", "gzip")]), 501)
    async with by_client(create_app(mode="lock", tokens=READER[1].line())) as guarded:
        conforms(responses["Stranger"], await guarded("GET", "/counters"), 401)
        bearer = [("Authorization", f"Bearer {READER[0]}")]
        conforms(responses["Forbidden"], await guarded("GET", "/metrics", bearer), 403)
    async with by_client(create_app(mode="lock", rate="1/1h")) as limited:
        assert (await limited("GET", "/counters")).status == 200
        conforms(responses["TooMany"], await limited("GET", "/counters"), 429)
    async with by_client(create_app(mode="lock", max_names=1)) as limited:
        await limited("POST", "/counters/a/increment")
        conforms(responses["TooMany"], await limited("POST", "/counters/b/increment"), 429)
        conforms(responses["TooMany"], await limited("POST", "/", FORM, b"action=increment"), 429)
    app.extensions["quart_counter"]._store = None
    conforms(responses["Bug"], await face("POST", "/counters/tickets/increment"), 500)


# Schemas and code agree

number = st.integers(-3, 3) | st.sampled_from(
    [n + d for n in (MAX_BY, -MAX_BY, MAX_VALUE, -MAX_VALUE) for d in (-1, 0, 1)]
)
value = number | st.none() | st.booleans() | st.just("1") | st.just(1.5)
bodies = st.dictionaries(st.sampled_from(["by", "limit", "floor", "value", "other"]), value, max_size=3)


@given(st.sampled_from(["Increment", "Take", "Set"]), bodies)
def test_bodies_are_taken_just_when_the_schema_says_so(schema: str, body: dict[str, Any]) -> None:
    path = b"/counters/tickets" + {"Increment": b"/increment", "Take": b"/take", "Set": b""}[schema]
    valid = Draft202012Validator({**DOCUMENT["components"]["schemas"][schema]}).is_valid(body)
    method = "PUT" if schema == "Set" else "POST"
    headers = [(b"content-type", b"application/json")]
    answered = asyncio.run(api.answer(_Yes(), method, path, b"", headers, json.dumps(body).encode()))  # type: ignore[arg-type]
    assert (answered.status == 200) == valid, answered.body


class _Yes:
    check = staticmethod(check_change)

    async def apply(self, change: Change) -> Applied:
        return Applied(1, 1)


@given(st.text(st.sampled_from('ab"\\ \x7f~!'), max_size=8) | st.text("k", min_size=254, max_size=256) | st.text())
def test_keys_are_taken_just_when_the_pattern_says_so(key: str) -> None:
    """What whitespace is around a header's value is no part of it."""
    try:
        taken = parse.key([(b"idempotency-key", key.encode("latin-1", "replace"))]) is not None
    except Problem:
        taken = False
    pattern = DOCUMENT["components"]["parameters"]["IdempotencyKey"]["schema"]["pattern"]
    assert taken == bool(
        re.search(pattern.replace("$", r"\Z"), key.encode("latin-1", "replace").decode("latin-1").strip(" \t"))
    )


# The page


async def test_docs_show_all_of_it_and_need_nothing(face: Face) -> None:
    reply = await face("GET", "/docs")
    html = reply.body.decode()
    assert reply.status == 200
    for operation in OPERATIONS.values():
        assert f'id="{operation["operationId"]}"' in html
    for outcome in DOCUMENT["x-outcomes"]:
        assert outcome["again"] in html
    assert "<script" not in html
    assert [*re.findall(r'(?:src|href)="(?!/|#)([^"]*)"', html)] == []
    assert len(re.findall(r'\bid="([^"]+)"', html)) == len({*re.findall(r'\bid="([^"]+)"', html)})
    assert {*re.findall(r'href="#([^"]+)"', html)} <= {*re.findall(r'\bid="([^"]+)"', html)}


async def test_its_commands_work(app: Quart, tmp_path: Any) -> None:
    """Typed as they are shown, in the order of the page."""
    require_program("curl")
    async with hypercorn(app) as url:
        for _, _, entries in docs.sections(DOCUMENT):
            for entry in entries:
                for options, path in entry.commands:
                    words = shlex.split(f"curl -s -f -o /dev/null {options}{url}{path}")
                    process = await asyncio.create_subprocess_exec(*words, cwd=tmp_path)
                    assert await process.wait() == 0, words
