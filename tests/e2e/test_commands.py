"""The commands themselves, and the service under servers that others start."""

import asyncio
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypercorn.config import Config

import quart_counter
from e2e.raw import ask
from e2e.served import clean_environment, outcome
from quart_counter.cli import main
from quart_counter.local.process import free_port
from quart_counter.serving.service import SERVER

TOML = Path(__file__).parents[2] / "hypercorn.toml"
APP = "quart_counter:create_app()"


async def test_version() -> None:
    status, said = await outcome("--version")
    assert (status, said) == (0, f"quart-counter {quart_counter.__version__}")


@pytest.mark.parametrize("command", [None, *sorted(main.commands)])
def test_help_has_an_example(command: str | None) -> None:
    """Every command shows how it is typed."""
    result = CliRunner().invoke(main, [*filter(None, [command]), "--help"])
    assert result.exit_code == 0
    wanted = f"quart-counter {command}" if command else "quart-counter serve "
    assert any(line.strip().startswith(wanted) for line in result.output.splitlines())


@pytest.mark.parametrize("arguments", [["--nope"], ["nope"], ["serve", "nope"]])
def test_bad_usage_is_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_every_option_has_words() -> None:
    for name, command in main.commands.items():
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts}"


def test_hypercorn_toml_says_what_serve_does() -> None:
    told = tomllib.loads(TOML.read_text())
    assert {word: told[word] for word in told.keys() - {"bind", "workers"}} == SERVER
    assert (told["bind"], told["workers"]) == (["127.0.0.1:8000"], 1)


def test_every_server_setting_is_one_of_hypercorns() -> None:
    """Hypercorn accepts a misspelt key in silence."""
    for word, value in tomllib.loads(TOML.read_text()).items():
        assert hasattr(Config, word), word
        assert isinstance(value, type(getattr(Config(), word)) | float), word


SERVERS = {
    "hypercorn": ["-m", "hypercorn", "-c", str(TOML), "--bind", "127.0.0.1:{port}", APP],
    "uvicorn": ["-m", "uvicorn", "--log-level", "warning", "--port", "{port}", "--factory", "quart_counter:create_app"],
}


@pytest.mark.parametrize("server", SERVERS)
async def test_other_servers_serve_it(server: str) -> None:
    if find_spec(server) is None:
        pytest.skip(f"`pip install {server}` runs this test")
    async with other_server(server) as url:
        replies = await asyncio.gather(*(ask(url, "POST", "/counters/tickets/increment") for _ in range(100)))
        assert sorted(reply.json["value"] for reply in replies) == list(range(1, 101))
        assert (await ask(url, "POST", "/counters/%ff/increment")).status == 400
        assert (await ask(url, "POST", "/counters/a%2Fb/increment")).status == 400
        assert (await ask(url, "GET", "/counters?limit=5")).json["counters"][0]["value"] == 100


@asynccontextmanager
async def other_server(server: str) -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *(argument.format(port=port) for argument in SERVERS[server])), env=clean_environment()
    )
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    await ask(f"http://127.0.0.1:{port}", "GET", "/healthz")
                    break
                except OSError:
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        async with asyncio.timeout(20):
            await process.wait()
