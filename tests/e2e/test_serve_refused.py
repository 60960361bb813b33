"""`quart-counter serve` that cannot start as told: status 2 and one sentence that names the thing and the remedy."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
import redis.asyncio as aioredis
from click.testing import CliRunner
from servers import a_server_of_our_own

from e2e.raw import ask
from e2e.served import clean_environment, outcome, serve
from quart_counter.cli import main
from quart_counter.local.process import LocalServer, free_port


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        (["--workers", "2"], {}, "use --mode redis"),
        (["--mode", "lock", "--workers", "4"], {}, "use --mode redis"),
        (["--workers", "0"], {}, "workers is 0"),
        (["--workers", "many"], {}, "--workers"),
        (["--mode", "none"], {}, "there is no mode 'none'"),
        (["--nope"], {}, "--nope"),
        (["--mode", "lock", "--url", "redis://127.0.0.1/0"], {}, "mode lock does not use redis"),
        (["--url", "gopher://127.0.0.1/"], {}, "no mode uses gopher"),
        (["--url", "redis://u:s3cr/et@127.0.0.1/0"], {}, "the Redis URL is wrong"),
        (["--with-redis", "--url", "redis://127.0.0.1/0"], {}, "leave out --url"),
        (["--deadline-s", "0"], {}, "deadline_s"),
        (["--key-life-s", "1"], {}, "a key must outlive every retry"),
        (["--bind", "127.0.0.1"], {}, "give HOST:PORT"),
        (["--bind", "127.0.0.1:\u0663"], {}, "give HOST:PORT"),
        (["--bind", "127.0.0.1:99999"], {}, "cannot listen"),
        (["--bind", "256.0.0.1:80"], {}, "cannot listen"),
        (["--bind", "192.0.2.1:80"], {}, "cannot listen"),
        (["--proxies", "1", "--bind", "127.0.0.1:0"], {}, "proxies is 1, so others are let in"),
        (["--proxies", "1", "--open", "--bind", "127.0.0.1:0"], {}, "there is no secret_key"),
        (["--proxies", "1", "--demo", "--bind", "127.0.0.1:0"], {}, "leave out --bind and --proxies"),
        ([], {"QUART_COUNTER_MODE": "none"}, "there is no mode 'none'"),
        ([], {"QUART_COUNTER_WORKERS": "x"}, "QUART_COUNTER_WORKERS is 'x'"),
        ([], {"QUART_COUNTER_FORCE": "perhaps"}, "QUART_COUNTER_FORCE"),
        ([], {"QUART_COUNTER_TOKEN": "tokens"}, "say QUART_COUNTER_TOKENS, or unset it"),
        (["--url", "redis:/u:s3cret@127.0.0.1:1/0"], {}, "write redis://"),
        ([], {"QUART_COUNTER_DEADLINE_S": "nan"}, "QUART_COUNTER_DEADLINE_S"),
        (["--config", "/nonexistent.toml"], {}, "cannot be read"),
        (["--config", "/"], {}, "cannot be read"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_wrong_settings(arguments: list[str], environ: dict[str, str], sentence: str) -> None:
    assert_one_sentence(*in_this_process(arguments, environ), sentence)


def in_this_process(arguments: list[str], environ: Mapping[str, str]) -> tuple[int, str]:
    """`quart-counter serve`, without the time that a new Python takes to start."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - clean_environment().keys():
            patch.delenv(name)
        result = CliRunner().invoke(main, ["serve", *arguments], env=environ)
    return result.exit_code, result.output


def assert_one_sentence(status: int, said: str, sentence: str) -> None:
    assert status == 2, said
    assert sentence in said
    assert "Traceback" not in said
    assert "s3cr" not in said
    assert said.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("backlogg = 10", "Hypercorn has no setting 'backlogg'"),
        ("_bind = ['x']", "Hypercorn has no setting '_bind'"),
        ("from_toml = 1", "Hypercorn has no setting 'from_toml'"),
        ("log = 1", "Hypercorn has no setting 'log'"),
        ("backlog = 'many'", "backlog is 'many'"),
        ("backlog = true", "backlog is True"),
        ("graceful_timeout = '10'", "graceful_timeout is '10'"),
        ("bind = ['127.0.0.1:0', '127.0.0.1:1']", "name one"),
        ("bind = 8000", "bind"),
        ("workers = 'x'", "workers"),
        ("workers = 3", "use --mode redis"),
        ("alpn_protocols = ['h2', 'http/1.1']", "leave out alpn_protocols, for serve speaks HTTP/1.1 alone"),
        ("quic_bind = ['127.0.0.1:0']", "leave out quic_bind"),
        ("insecure_bind = ['0.0.0.0:0']", "leave out insecure_bind, for serve listens in one place"),
        ("= 1", "is not TOML"),
    ],
)
def test_a_wrong_server_file(tmp_path: Path, toml: str, sentence: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(toml)
    assert_one_sentence(*in_this_process(["--config", str(file)], {}), sentence)


async def test_redis_that_is_not_there() -> None:
    url = f"redis://somebody:s3cret@127.0.0.1:{free_port()}/0"
    status, said = await outcome("serve", "--bind", "127.0.0.1:0", "--workers", "2", QUART_COUNTER_URL=url)
    assert_one_sentence(status, said, "Redis does not answer")
    assert len(said.splitlines()) == 1


async def guard(server: LocalServer, password: str) -> None:
    async with aioredis.from_url(server.url) as client:
        await client.config_set("requirepass", password)


async def test_redis_with_a_wrong_password() -> None:
    with a_server_of_our_own("redis") as server:
        await guard(server, "right")
        url = server.url.replace("127.0.0.1", ":s3cret@127.0.0.1")
        status, said = await outcome("serve", "--bind", "127.0.0.1:0", QUART_COUNTER_URL=url)
    assert_one_sentence(status, said, "Redis")


async def test_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        status, said = await outcome("serve", "--bind", f"127.0.0.1:{other.getsockname()[1]}")
    assert_one_sentence(status, said, "cannot listen")


async def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "__init__.py").write_text("raise ModuleNotFoundError('No redis here', name='redis')")
    url = f"redis://127.0.0.1:{free_port()}/0"
    status, said = await outcome("serve", "--bind", "127.0.0.1:0", "--url", url, PYTHONPATH=str(tmp_path))
    assert_one_sentence(status, said, "pip install '.[redis]'")


async def test_the_banner_hides_the_secret() -> None:
    with a_server_of_our_own("redis") as server:
        await guard(server, "s3cret")
        url = server.url.replace("127.0.0.1", ":s3cret@127.0.0.1")
        async with serve(QUART_COUNTER_URL=url) as served:
            assert "s3cret" not in "\n".join(served.said)
            assert (await ask(served.url, "POST", "/counters/tickets/increment")).status == 200
