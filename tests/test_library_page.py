"""docs/library.md runs as written."""

import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from e2e.served import clean_environment, serve

from quart_counter.keys import new_key

PAGE = (Path(__file__).parents[1] / "docs" / "library.md").read_text()
BLOCKS = dict(re.findall(r"<!-- run: (\S+) -->\n```python\n(.*?)```", PAGE, re.S))


def test_every_python_block_is_run_here():
    assert PAGE.count("```python") == len(BLOCKS) == 4


@pytest.fixture
def shop() -> ModuleType:
    module = ModuleType("shop")
    exec(compile(BLOCKS["shop.py"], "shop.py", "exec"), module.__dict__)
    return module


async def answered(app: Any, method: str, path: str, **given: Any) -> tuple[int, Any]:
    reply = await app.test_client().open(path, method=method, **given)
    return reply.status_code, await reply.get_json()


async def test_the_shop_sells_a_hundred_seats_and_no_more(shop: ModuleType) -> None:
    async with shop.app.test_app() as running:
        orders = await asyncio.gather(*(answered(running, "POST", "/seats") for _ in range(130)))
        assert sorted(body["seat"] for status, body in orders if status == 200) == list(range(1, 101))
        assert [body for status, body in orders if status != 200] == [{"error": "sold out"}] * 30
        assert await answered(running, "POST", "/seats/back") == (200, {"sold": 99})
        assert await answered(running, "GET", "/seats") == (200, {"sold": 99, "version": 101})
        assert await answered(running, "POST", "/visits") == (200, {"you are number": 1})


async def test_an_order_that_is_sent_twice_is_one_and_a_key_too_old_is_told(shop: ModuleType) -> None:
    async with shop.app.test_app() as running:
        once = {"headers": {"Idempotency-Key": new_key()}}
        assert await answered(running, "POST", "/seats", **once) == (200, {"seat": 1})
        assert await answered(running, "POST", "/seats", **once) == (200, {"seat": 1})
        assert await answered(running, "GET", "/seats") == (200, {"sold": 1, "version": 1})
        old = {"headers": {"Idempotency-Key": "01900000-0000-7000-8000-000000000000"}}
        status, body = await answered(running, "POST", "/seats", **old)
        assert (status, "error" in body) == (422, True)


@pytest.mark.parametrize("block", ["alone", "tickets"])
async def test_the_scripts_count(block: str, tmp_path: Path) -> None:
    assert (await said(BLOCKS[block], tmp_path)).split("\n")[0] == "1"
    assert (await said(BLOCKS[block], tmp_path)).split("\n")[0] == "2"


async def test_the_client_counts_at_a_service(tmp_path: Path) -> None:
    async with serve() as served:
        script = BLOCKS["client"].replace("http://127.0.0.1:8000", served.url)
        assert script != BLOCKS["client"]
        assert [await said(script, tmp_path), await said(script, tmp_path)] == ["1\n", "2\n"]


async def said(script: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), cwd=folder, env=clean_environment(), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
