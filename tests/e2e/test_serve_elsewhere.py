"""What `serve` promises when workers die and stop holds on every server and loop, not on the default alone."""

from functools import partial

import pytest

from e2e import test_serve
from e2e.served import outcome, serve
from e2e.test_serve import own_redis as own_redis

ELSEWHERE = {"uvicorn": ("--server", "uvicorn"), "asyncio": ("--loop", "asyncio")}


@pytest.fixture(autouse=True, params=ELSEWHERE)
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    flags = ELSEWHERE[request.param]
    monkeypatch.setattr(test_serve, "serve", partial(serve, *flags))
    return flags


test_a_killed_worker_is_replaced = test_serve.test_a_killed_worker_is_replaced_and_the_others_go_on
test_the_death_of_the_lock_worker = test_serve.test_the_death_of_the_lock_worker_is_the_end
test_sigterm_cuts_nobody = test_serve.test_sigterm_cuts_nobody
test_sigterm_waits = test_serve.test_sigterm_waits_for_a_slow_request
test_idle_connections = test_serve.test_idle_connections_do_not_hold_it
test_closed_connections = test_serve.test_closed_connections_are_let_go
test_ctrl_c = test_serve.test_ctrl_c_does_not_wait_for_a_slow_body


async def test_a_start_that_fails_is_told_in_a_sentence(elsewhere: tuple[str, ...]) -> None:
    status, said = await outcome("serve", *elsewhere, "--url", "redis://127.0.0.1:1/0")
    assert status == 2
    assert said.startswith("Error: Redis does not answer")
    assert "Traceback" not in said


async def test_settings_of_hypercorn_are_for_hypercorn() -> None:
    status, said = await outcome("serve", "--server", "uvicorn", "--config", "hypercorn.toml")
    assert (status, "leave it out with --server uvicorn" in said) == (2, True)
