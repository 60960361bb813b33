"""`quart-counter serve`: settings in, a running service, a banner that says what it promises, a true exit status."""

from __future__ import annotations

import asyncio
import signal
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import click
from hypercorn.config import Config

from quart_counter import __version__
from quart_counter.errors import ConfigurationError
from quart_counter.server import SERVER, Service
from quart_counter.settings import MODES, Settings, load_settings

SHARED_BY: Final = {
    "process": "one worker process, nobody else",
    "host": "every worker on this machine",
    "network": "every worker on every host that reaches this store",
}
SURVIVES: Final = {
    "none": "nothing: the numbers end with the store",
    "restart": "a clean restart of the store",
    "crash": "a restart and a crash of the store (kill -9)",
    "power_loss": "a restart, a crash and a power cut (as configured; not tested here)",
}


async def serve(given: Mapping[str, Any], *, with_redis: bool, config_file: str | None) -> int:
    """Run the service until a signal ends it (0) or it cannot go on (1). Raises ConfigurationError at the start."""
    server, ours = _server_settings(config_file)
    with _private_redis(with_redis, given) as implied:
        settings = load_settings(file=ours, **{**given, **implied})
        async with _running(settings, server) as service:
            click.echo(banner(settings, service))
            return await _until_told(service)


@asynccontextmanager
async def _running(settings: Settings, server: Mapping[str, Any]) -> AsyncIterator[Service]:
    """The service, and in mode manager the one manager that its workers share, unless the URL names another."""
    if settings.mode != "manager" or urlsplit(settings.url).path:
        async with Service(settings, server, _warn) as service:
            yield service
        return
    from quart_counter.stores.managed import private_manager

    with private_manager() as manager:
        async with Service(replace(settings, url=manager.url), server, _warn) as service:
            with manager.watched(partial(_manager_died, service)):
                yield service


def _manager_died(service: Service) -> None:
    if not service.ended.done():
        service.ended.set_result(
            "the manager died, and the numbers of mode manager died with it: not starting another that would begin "
            "at 1 again"
        )


async def _until_told(service: Service) -> int:
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, told.put_nowait, one)
    signalled: asyncio.Future[signal.Signals] = asyncio.ensure_future(told.get())
    await asyncio.wait((signalled, service.ended), return_when=asyncio.FIRST_COMPLETED)
    if signalled.done():
        click.echo("stopping: requests in flight are answered first")
        await service.stop(signalled.result())
        return 0
    signalled.cancel()
    _warn(service.ended.result())
    await service.stop(signal.SIGTERM)
    return 1


def banner(settings: Settings, service: Service) -> str:
    """Say what is on, who shares the number and what it survives."""
    promises = service.guarantees
    workers = ", ".join(map(str, service.pids))
    lines = [
        f"quart-counter {__version__}  mode {settings.mode}: {MODES[settings.mode].summary}",
        f"  listening on    {service.url}  (workers: {workers})",
        f"  store           {without_secret(settings.url)}  {promises['server']}".rstrip(),
        f"  number shared   by {SHARED_BY[promises['scope']]}",
        f"  survives        {SURVIVES[promises['durable']]}",
        *(f"  note            {note}" for note in promises["notes"]),
        f"  try             curl -X POST {service.url}/counters/tickets/increment",
    ]
    return "\n".join(lines)


def without_secret(url: str) -> str:
    """Return `url` with its password hidden."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def _server_settings(config_file: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Hypercorn's settings, and what the file says about those that are ours: bind and workers."""
    if config_file is None:
        return dict(SERVER), {}
    try:
        told = tomllib.loads(Path(config_file).read_text())
    except OSError as error:
        raise ConfigurationError(f"--config {config_file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--config {config_file} is not TOML: {error}") from error
    for word in told:
        if not hasattr(Config(), word):  # Hypercorn accepts a misspelt key in silence
            raise ConfigurationError(f"--config {config_file}: Hypercorn has no setting {word!r}")
    bind = told.pop("bind", None)
    ours = {"bind": bind[0] if isinstance(bind, list) else bind, "workers": told.pop("workers", None)}
    return {**SERVER, **told}, ours


@contextmanager
def _private_redis(wanted: bool, given: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    if not wanted:
        yield {}
        return
    if given.get("url"):
        raise ConfigurationError("--with-redis starts a Redis of its own: leave out --url")
    from quart_counter.local.redis import private_redis

    with private_redis() as server:
        yield {"mode": given.get("mode") or "redis", "url": server.url}


def _warn(sentence: str) -> None:
    click.echo(f"{sentence}", err=True)
