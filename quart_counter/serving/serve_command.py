"""`quart-counter serve`: settings in, a running service, a true exit status out."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from hypercorn.config import Config

from quart_counter.errors import ConfigurationError
from quart_counter.serving.banner import banner
from quart_counter.serving.service import SERVER, Service
from quart_counter.settings import PREFIX, Settings, load_settings, passed_over
from quart_counter.settings.modes import MODES
from quart_counter.web import log


async def serve(given: Mapping[str, Any], *, with_redis: bool, config_file: str | None) -> int:
    """Run the service until a signal ends it (0) or it cannot go on (1).

    Raises ConfigurationError if it cannot start; where the log is JSON, that is a line of it (2).
    """
    try:
        return await _serve(given, with_redis=with_redis, config_file=config_file)
    except ConfigurationError as error:
        if (given.get("log") or os.environ.get(f"{PREFIX}LOG")) != "json":
            raise
        _Voice(as_json=True).say(f"{error}.", level="error")
        return 2


async def _serve(given: Mapping[str, Any], *, with_redis: bool, config_file: str | None) -> int:
    server, ours = _server_settings(config_file)
    told = _Signals()
    try:
        with _private_redis(with_redis, given) as implied:
            settings = load_settings(file=ours, **{**given, **implied})
            if config_file is not None and settings.server != "hypercorn":
                raise ConfigurationError(
                    f"--config is a file for Hypercorn: leave it out with --server {settings.server}"
                )
            voice = _Voice(as_json=settings.log == "json")
            if strangers := passed_over(os.environ):
                voice.warn(f"passed over, for they are no settings: {', '.join(strangers)}")
            async with _running(settings, server, voice) as service:
                told.is_up = True
                voice.say(banner(settings, service))
                return await _until_told(service, told, voice)
    except asyncio.CancelledError:
        if told.is_up:
            raise
        return 0  # told to stop before it was up


@asynccontextmanager
async def _running(settings: Settings, server: Mapping[str, Any], voice: _Voice) -> AsyncIterator[Service]:
    """The service, and in mode manager the one manager that its workers share, unless the URL names another."""
    if not settings.url.startswith("manager:") or urlsplit(settings.url).path:
        async with Service(settings, server, voice.warn) as service:
            yield service
        return
    from quart_counter.stores.manager.process import private_manager

    with private_manager() as manager:
        async with Service(replace(settings, url=manager.url), server, voice.warn) as service:
            with manager.watched(partial(_manager_died, service)):
                yield service


def _manager_died(service: Service) -> None:
    if not service.ended.done():
        service.ended.set_result(
            "the manager died, and the numbers of mode manager died with it: not starting another that would begin "
            "at 1 again"
        )


class _Signals:
    """SIGTERM and Ctrl-C, in the order they come. Until the service is up the first of them ends its start."""

    def __init__(self) -> None:
        self.is_up = False
        self._queue: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._starting = asyncio.current_task()
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(one, self._come, one)

    def _come(self, one: signal.Signals) -> None:
        self._queue.put_nowait(one)
        if not self.is_up and self._starting is not None:
            self._starting.cancel()

    async def next(self) -> signal.Signals:
        """Wait for the next signal."""
        return await self._queue.get()


async def _until_told(service: Service, told: _Signals, voice: _Voice) -> int:
    signalled = asyncio.ensure_future(told.next())
    await asyncio.wait((signalled, service.ended), return_when=asyncio.FIRST_COMPLETED)
    if signalled.done():
        voice.say("stopping: requests in flight are answered first")
        await _stop(service, signalled.result(), told)
        return 0
    signalled.cancel()
    voice.warn(service.ended.result())
    await _stop(service, signal.SIGTERM, told)
    return 1


async def _stop(service: Service, how: signal.Signals, told: _Signals) -> None:
    """Stop the service; whoever signals again has no patience."""
    stopping = asyncio.ensure_future(service.stop(how))
    again = asyncio.ensure_future(told.next())
    await asyncio.wait((stopping, again), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await service.stop(signal.SIGINT)
    again.cancel()
    await stopping


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
        _check_setting(config_file, word, told[word])
    bind = told.pop("bind", None)
    if isinstance(bind, list):
        if len(bind) != 1:
            raise ConfigurationError(f"--config {config_file}: bind names {len(bind)} addresses; name one")
        bind = bind[0]
    ours = {"bind": bind, "workers": told.pop("workers", None)}
    return {**SERVER, **told}, ours


def _check_setting(config_file: str, word: str, value: Any) -> None:
    """Raise ConfigurationError for what is not ours to do, and for what Hypercorn accepts in silence."""
    if word in _NOT_OURS and value != SERVER.get(word):
        raise ConfigurationError(f"--config {config_file}: leave out {word}, for serve {_NOT_OURS[word]}")
    default = getattr(Config, word, _NO_SETTING)
    if word == "bind":
        default = ["127.0.0.1:8000"] if isinstance(value, list) else ""
    if default is _NO_SETTING or word.startswith("_") or callable(default) or isinstance(default, property):
        raise ConfigurationError(f"--config {config_file}: Hypercorn has no setting {word!r}")
    kind = (int, float) if type(default) in (int, float) else type(default)
    if default is not None and not (isinstance(value, kind) and isinstance(value, bool) is isinstance(default, bool)):
        raise ConfigurationError(f"--config {config_file}: {word} is {value!r}, and Hypercorn's own is {default!r}")


_NO_SETTING: Final = object()
_NOT_OURS: Final[Mapping[str, str]] = {
    "alpn_protocols": "speaks HTTP/1.1 alone (a proxy in front may speak HTTP/2)",
    "insecure_bind": "listens in one place (bind)",
    "quic_bind": "speaks HTTP/1.1 alone (a proxy in front may speak HTTP/3)",
}


@contextmanager
def _private_redis(wanted: bool, given: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    if not wanted:
        yield {}
        return
    if given.get("url"):
        raise ConfigurationError("--with-redis starts a Redis of its own: leave out --url")
    if given.get("mode") in MODES and "redis" not in MODES[given["mode"]].schemes:
        raise ConfigurationError(f"--with-redis counts in Redis: leave out --mode {given['mode']}")
    from quart_counter.local.redis import lock, private_redis

    with private_redis() as server:
        yield {"mode": given.get("mode") or "redis", "url": lock(server)}


class _Voice:
    """Says what happens to the service: in plain sentences, or as lines of the JSON log."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, text: str, level: str = "info") -> None:
        """Say some lines."""
        for sentence in text.splitlines() if self._as_json else [text]:
            told = log.line(time.time(), level, sentence.strip(), {}) if self._as_json else f"{sentence}\n"
            with suppress(OSError):  # nobody listens any more, which is no reason to stop the service in another way
                click.echo(told, nl=False, err=level != "info")

    def warn(self, sentence: str) -> None:
        """Say what went wrong."""
        self.say(sentence, level="warning")
