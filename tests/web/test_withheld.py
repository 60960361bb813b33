"""Of a store that cannot be used clients are told that, and the log why."""

import logging
from pathlib import Path

import pytest

from quart_counter import create_app
from quart_counter.model import Change, NotApplied
from quart_counter.web import answers
from quart_counter.web.withheld import Withheld


@pytest.fixture(autouse=True)
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had been told for a while."""
    monkeypatch.setattr(answers.WITHHELD, "_quiet_until", 0.0)


async def test_a_damaged_file_is_told_without_its_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(url=f"file:{tmp_path / 'counters'}")
    async with app.test_app():
        (tmp_path / "counters" / "visits.count").write_bytes(b"garbage")
        client = app.test_client()
        counter = "/counters/visits"
        html = {"Accept": "text/html"}
        told = [
            await client.post(f"{counter}/increment"),
            await client.put(counter, json={"value": 1}),
            await client.get(counter),
            await client.get("/", headers=html),
            await client.post("/", form={"action": "increment"}),
            await client.get("/", headers=html),
        ]
        assert [reply.status_code for reply in told] == [503, 503, 503, 503, 303, 503]
        bodies = [await reply.get_data(as_text=True) for reply in told]
        assert "the counter's file cannot be used. The change was not applied" in bodies[0]
        assert not [body for body in bodies if str(tmp_path) in body or "garbage" in body or "visits.count" in body]
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"{tmp_path}/counters/visits.count is not a counter's file" in line


def test_a_quota_is_told_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    quota = "tickets already holds 3 live idempotency keys, its quota"
    assert quota in answers.told(Change("tickets"), NotApplied(quota))
    assert not caplog.records


def test_nobody_fills_the_log(caplog: pytest.LogCaptureFixture) -> None:
    withheld = Withheld(logging.getLogger(__name__))
    for number in range(1000):
        assert withheld.shown(f"Redis does not answer (try {number})") == "Redis does not answer"
    assert [record.getMessage() for record in caplog.records] == ["Redis does not answer (try 0)"]
    withheld._quiet_until = 0.0
    withheld.shown("Redis does not answer (again)")
    assert caplog.records[-1].getMessage() == "Redis does not answer (again); 999 more sentences like it were not told"
