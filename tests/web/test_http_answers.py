"""The good answers, byte for byte: other people's scripts read them."""

import asyncio

import pytest

from web.faces import JSON, Face, assert_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_increment_answers_name_value_version(face: Face) -> None:
    """The shape, byte for byte; other people's scripts read it."""
    reply = await face("POST", "/counters/shape/increment")
    assert (reply.status, reply.body) == (200, b'{"name":"shape","value":1,"version":1}')
    assert reply.header("content-type") == "application/json"
    assert reply.header("cache-control") == "no-store"
    assert reply.header("idempotency-replayed") is None
    assert reply.header("x-worker") is None
    for content, value in [(b'{"by": 41}', 42), (b"{}", 43), (b'{"by": -43}', 0), (b'{"by":-2147483648}', -(2**31))]:
        reply = await face("POST", "/counters/shape/increment", JSON, content)
        assert reply.json["value"] == value
    assert reply.body == b'{"name":"shape","value":-2147483648,"version":5}'


@pytest.mark.parametrize(
    "media",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
async def test_json_by_any_of_its_names(face: Face, media: str) -> None:
    reply = await face("POST", "/counters/media/increment", [("Content-Type", media)], b'{"by": 1}')
    assert reply.status == 200


async def test_empty_body_needs_no_content_type(face: Face) -> None:
    """`curl -X POST -d ''` says it sends a form."""
    form = [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", "0")]
    assert (await face("POST", "/counters/empty/increment", form)).status == 200


@pytest.mark.parametrize("segment", ["0", "a" * 64, "A.b_c~d-9", "%41bc", "tickets%2Dsold", "a..b"])
async def test_good_names(face: Face, segment: str) -> None:
    reply = await face("POST", f"/counters/{segment}/increment")
    assert (reply.status, reply.json["name"]) == (200, segment.replace("%41", "A").replace("%2D", "-"))


async def test_get_answers_the_same_shape_and_an_etag(face: Face) -> None:
    reply = await face("GET", "/counters/unseen")
    assert (reply.body, reply.header("etag")) == (b'{"name":"unseen","value":0,"version":0}', '"0"')
    await face("POST", "/counters/seen/increment", JSON, b'{"by": 5}')
    reply = await face("GET", "/counters/seen")
    assert (reply.body, reply.header("etag")) == (b'{"name":"seen","value":5,"version":1}', '"1"')


async def test_absolute_form(face: Face) -> None:
    """A server must accept it (RFC 9112, 3.2.2); proxies send it."""
    reply = await face("POST", "http://localhost/counters/absolute/increment")
    assert (reply.status, reply.body) == (200, b'{"name":"absolute","value":1,"version":1}')


async def test_put_and_delete(face: Face) -> None:
    """A reset is a change like any other: the version goes on."""
    reply = await face("PUT", "/counters/put", JSON, b'{"value": 9007199254740991}')
    assert (reply.status, reply.body) == (200, b'{"name":"put","value":9007199254740991,"version":1}')
    reply = await face("POST", "/counters/put/increment")
    assert (reply.status, reply.json["type"]) == (409, "urn:quart-counter:cap")
    assert (reply.json["name"], reply.json["value"], reply.json["version"]) == ("put", 2**53 - 1, 1)
    assert_problem(reply)
    reply = await face("DELETE", "/counters/put")
    assert (reply.status, reply.body) == (200, b'{"name":"put","value":0,"version":2}')
    reply = await face("DELETE", "/counters/put", JSON, b"{}")
    assert (reply.status, reply.body) == (200, b'{"name":"put","value":0,"version":3}')


async def test_put_if_match(face: Face) -> None:
    """Read, decide, write back: the one that comes second is told."""
    tag = (await face("GET", "/counters/match")).header("etag")
    put = (*JSON, ("If-Match", tag or ""))
    assert (
        await face("PUT", "/counters/match", put, b'{"value": 5}')
    ).body == b'{"name":"match","value":5,"version":1}'
    late = await face("PUT", "/counters/match", put, b'{"value": 6}')
    assert (late.status, late.json["type"], late.json["version"]) == (412, "urn:quart-counter:version", 1)
    assert_problem(late)
    any_tag = (*JSON, ("If-Match", "*"))
    assert (await face("PUT", "/counters/match", any_tag, b'{"value": 6}')).json["version"] == 2
    assert (await face("DELETE", "/counters/match", [("If-Match", '"1"')])).status == 412
    assert (await face("POST", "/counters/match/increment", [("If-Match", '"2"')])).json["value"] == 7


async def test_take_up_to_the_limit_and_down_to_the_floor(face: Face) -> None:
    take = "/counters/seats/take"
    for value in (1, 2, 3):
        assert (await face("POST", take, JSON, b'{"by": 1, "limit": 3}')).json["value"] == value
    full = await face("POST", take, JSON, b'{"by": 1, "limit": 3}')
    assert (full.status, full.json["type"]) == (409, "urn:quart-counter:bound")
    assert (full.json["name"], full.json["value"], full.json["version"]) == ("seats", 3, 3)
    assert_problem(full)
    assert (await face("POST", take, JSON, b'{"by": -3, "floor": 0}')).json["value"] == 0
    assert (await face("POST", take, JSON, b'{"by": -1, "floor": 0}')).status == 409
    assert (await face("POST", take, JSON, b'{"limit": 3}')).body == b'{"name":"seats","value":1,"version":5}'


KEYED = "/counters/keyed/increment"


async def test_a_key_counts_once_and_is_answered_the_same_each_time(face: Face) -> None:
    first = await face("POST", KEYED, [("Idempotency-Key", "order-7")])
    await face("POST", KEYED)
    for spelling in ["order-7", '"order-7"', "  order-7\t"]:
        again = await face("POST", KEYED, [("Idempotency-Key", spelling)])
        assert (again.status, again.body) == (200, first.body)
        assert again.header("idempotency-replayed") == "true"
    assert first.header("idempotency-replayed") is None
    assert (await face("GET", "/counters/keyed")).json["value"] == first.json["value"] + 1


async def test_a_key_is_not_for_two_requests(face: Face) -> None:
    await face("POST", KEYED, [("Idempotency-Key", "reused")])
    before = (await face("GET", "/counters/keyed")).body
    other = (*JSON, ("Idempotency-Key", "reused"))
    for method, target, content in [
        ("POST", KEYED, b'{"by": 2}'),
        ("POST", "/counters/keyed/take", b'{"by": 1, "limit": 99}'),
        ("PUT", "/counters/keyed", b'{"value": 1}'),
        ("DELETE", "/counters/keyed", b""),
    ]:
        reply = await face(method, target, other, content)
        assert (reply.status, reply.json["type"]) == (422, "urn:quart-counter:key-reused")
        assert_problem(reply)
    assert (await face("GET", "/counters/keyed")).body == before
    assert (await face("POST", "/counters/keyed-2/increment", [("Idempotency-Key", "reused")])).status == 200


async def test_a_key_keeps_a_refusal_too(face: Face) -> None:
    sold_out = (*JSON, ("Idempotency-Key", "too-late"))
    first = await face("POST", "/counters/sold/take", sold_out, b'{"by": 5, "limit": 4}')
    await face("DELETE", "/counters/sold")
    again = await face("POST", "/counters/sold/take", sold_out, b'{"by": 5, "limit": 4}')
    assert (first.status, again.status, again.header("idempotency-replayed")) == (409, 409, "true")


@pytest.mark.parametrize(
    ("bare", "quoted"),
    [
        ("a" * 255, f'"{"a" * 255}"'),
        ("!", '"!"'),
        ("~,;=", '"~,;="'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("\\", r'"\\"'),
        (r"a\"b", r'"a\\\"b"'),
    ],
)
async def test_bare_or_quoted_it_is_one_key(face: Face, bare: str, quoted: str) -> None:
    assert (await face("POST", KEYED, [("Idempotency-Key", bare)])).header("idempotency-replayed") is None
    assert (await face("POST", KEYED, [("Idempotency-Key", quoted)])).header("idempotency-replayed") == "true"


async def test_keys_in_flight_together_count_once(face: Face) -> None:
    """Ten repeats at once: the others wait for the first and get its answer."""
    key = [("Idempotency-Key", "together")]
    replies = await asyncio.gather(*(face("POST", "/counters/together/increment", key) for _ in range(10)))
    assert {reply.body for reply in replies} == {b'{"name":"together","value":1,"version":1}'}
    assert sorted(reply.header("idempotency-replayed") or "first" for reply in replies) == ["first", *["true"] * 9]


async def test_own_origin_is_welcome(face: Face) -> None:
    for origin in [("Origin", "http://localhost"), ("Origin", "https://localhost"), ("Sec-Fetch-Site", "same-origin")]:
        assert (await face("POST", "/counters/own/increment", [origin])).status == 200
    strange_port = [("Host", "[::1]:8000"), ("Origin", "http://[::1]:8000")]
    assert (await face("POST", "/counters/own/increment", strange_port)).status == 200


async def test_list_is_paged_in_order(face: Face) -> None:
    for name in ["page-c", "page-a", "page-b", "page-a"]:
        await face("POST", f"/counters/{name}/increment")
    first = await face("GET", "/counters?after=page-&limit=2")
    rows = [{"name": "page-a", "value": 2, "version": 2}, {"name": "page-b", "value": 1, "version": 1}]
    assert first.json == {"counters": rows, "next": "page-b"}
    rest = await face("GET", f"/counters?after={first.json['next']}&limit=1000")
    assert rest.json["counters"][0] == {"name": "page-c", "value": 1, "version": 1}
    assert rest.json["next"] is None
    assert (await face("GET", "/counters?after=zzzz")).json == {"counters": [], "next": None}


async def test_health(face: Face) -> None:
    assert (await face("GET", "/healthz")).json == {"status": "ok"}
    ready = (await face("GET", "/readyz")).json
    assert ready["ready"] is True
    assert ready["guarantees"]["atomic"] is True
    assert ready["guarantees"]["scope"] == {"lock": "process", "redis": "network"}[ready["mode"]]
