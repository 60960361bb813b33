"""All settings, in one table: what each is for, its default, and how flag, environment and default are weighed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final

from quart_counter.access.rates import parse_rate
from quart_counter.errors import ConfigurationError
from quart_counter.model import MAX_KEYS
from quart_counter.settings.modes import MODES, check_slashes, mode_of, no_such_mode

PREFIX: Final = "QUART_COUNTER_"
MIN_SECRET: Final = 16  # bytes
NEW_SECRET: Final = (
    f"set {PREFIX}SECRET_KEY to what python3 -c 'import secrets; print(secrets.token_hex(32))' prints, and keep it"
)
SERVERS: Final = ("hypercorn", "uvicorn")
LOOPS: Final = ("auto", "asyncio", "uvloop")
# So near to a setting that nothing else was meant. Kubernetes has names of its own for a service of our name
# (QUART_COUNTER_SERVICE_PORT), and those are not.
NEAR: Final = 0.75
LOGS: Final = ("off", "json")


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """What the service runs with. Make it with `load_settings`, which checks it."""

    mode: str = _setting(
        "lock", "how the app keeps the number: " + ", ".join(name for name, one in MODES.items() if not one.exhibit)
    )
    url: str = _setting("", "address of the store, for example redis://127.0.0.1:6379/0; alone it implies the mode")
    workers: int = _setting(1, "worker processes; more than one needs a mode whose numbers are shared")
    bind: str = _setting("127.0.0.1:8000", "address to listen on, HOST:PORT; port 0 takes a free one")
    tokens: str = _setting("", "who may do what: a file made with quart-counter token new, or its lines themselves")
    open: bool = _setting(False, "serve others, and under any name, without tokens: whoever reaches it may do all")
    proxies: int = _setting(0, "proxies in front; so many X-Forwarded-For and -Proto, from the right, are believed")
    secret_key: str = _setting(
        "", f"signs cookies, {MIN_SECRET} bytes or more; empty: a new one at each start, and old cookies count no more"
    )
    server: str = _setting("hypercorn", "what serves HTTP in the workers: hypercorn or uvicorn")
    loop: str = _setting("auto", "the workers' event loop: asyncio, uvloop, or auto (uvloop where it is installed)")
    log: str = _setting("off", "json: a line of JSON for every request, on standard output; off: only what goes wrong")
    store_timeout_s: float = _setting(1.0, "seconds one try on the store may take")
    deadline_s: float = _setting(
        5.0, "seconds after which a change is given up; its caller hears of it within twice that"
    )
    key_life_s: float = _setting(3600.0, "seconds an idempotency key is remembered, at least")
    max_keys: int = _setting(MAX_KEYS, "live idempotency keys a counter may hold")
    rate: str = _setting("", "requests that a client (an address) may make, such as 100/1s, over all workers")
    client_keys: int = _setting(0, "requests with an idempotency key that a client may make in key_life_s; 0: no limit")
    max_names: int = _setting(0, "counters there may be; beyond it a new name is refused, none is evicted; 0: no limit")
    max_in_flight: int = _setting(0, "requests that a worker has under way before it turns others away; 0: no limit")
    force: bool = _setting(False, "start several workers although the mode counts in each of them apart")
    session_life_s: float = _setting(86_400.0, "seconds after which a client's own number is forgotten")
    max_sessions: int = _setting(
        100_000, "clients whose own numbers a worker keeps; beyond it the oldest are forgotten"
    )
    max_streams: int = _setting(500, "open pages with a live number, a worker; beyond it they look now and then")
    demo: bool = _setting(False, "also serve /demo, where 100 clients race ways of counting; for this machine alone")
    lab: bool = _setting(False, "set by the lab: workers name themselves in X-Worker, exhibits wait for each other")

    @property
    def in_worker(self) -> bool:
        """Whether each worker has its own numbers, so that only one worker counts right."""
        return self.url.startswith("memory:")


def load_settings(
    environ: Mapping[str, str] | None = None, file: Mapping[str, Any] | None = None, **given: Any
) -> Settings:
    """Return checked settings: what is `given` and not None beats the environment, then what a `file` says, then the
    default.

    Raises `ConfigurationError` with a sentence that names the setting and what it may be.
    """
    environ = os.environ if environ is None else environ
    known = {one.name: one for one in fields(Settings)}
    for name in given:
        if name not in known:
            raise ConfigurationError(f"there is no setting {name!r}; there are {', '.join(known)}")
    for name in passed_over(environ):
        if near := get_close_matches(name.removeprefix(PREFIX).lower(), known, n=1, cutoff=NEAR):
            raise ConfigurationError(f"there is no setting {name}: say {PREFIX}{near[0].upper()}, or unset it")
    values: dict[str, Any] = {}
    for name, one in known.items():
        if given.get(name) is not None:
            values[name] = _typed(name, given[name], type(one.default))
        elif environ.get(PREFIX + name.upper(), "") != "":
            values[name] = _typed(PREFIX + name.upper(), environ[PREFIX + name.upper()], type(one.default))
        elif file and file.get(name) is not None:
            values[name] = _typed(name, file[name], type(one.default))
    return _checked(values)


def passed_over(environ: Mapping[str, str]) -> Sequence[str]:
    """Return the variables that look like settings and are none."""
    known = {PREFIX + one.name.upper() for one in fields(Settings)}
    return sorted(name for name in environ if name.startswith(PREFIX) and environ[name] and name not in known)


def _typed(source: str, value: Any, kind: type) -> Any:
    try:
        if kind is bool and isinstance(value, str):
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[value.lower()]
        if kind is int and isinstance(value, (bool, float)):
            raise ValueError
        typed = kind(value)
        if kind is float and not math.isfinite(typed):
            raise ValueError
        return typed
    except (KeyError, ValueError, TypeError):
        wanted = {int: "a whole number", float: "a number", bool: "1 or 0"}[kind]
        raise ConfigurationError(f"{source} is {value!r}: give {wanted}") from None


def _checked(values: dict[str, Any]) -> Settings:
    settings = Settings(**_with_mode_and_url(values))
    for name, choices in (("server", SERVERS), ("loop", LOOPS), ("log", LOGS)):
        if getattr(settings, name) not in choices:
            raise ConfigurationError(f"{name} is {getattr(settings, name)!r}: give {' or '.join(choices)}")
    if settings.workers < 1:
        raise ConfigurationError(f"workers is {settings.workers}: give 1 or more")
    if min(settings.store_timeout_s, settings.deadline_s) <= 0:
        raise ConfigurationError("store_timeout_s and deadline_s must be more than 0 seconds")
    if settings.key_life_s <= 2 * settings.deadline_s:
        raise ConfigurationError(
            f"key_life_s is {settings.key_life_s:g}: a key must outlive every retry, so give more than twice "
            f"deadline_s ({settings.deadline_s:g})"
        )
    for name in ("max_keys", "max_sessions", "session_life_s", "max_streams"):
        if getattr(settings, name) < 1:
            raise ConfigurationError(f"{name} is {getattr(settings, name)}: give 1 or more")
    _check_limits(settings)
    _check_secret(settings)
    _check_demo(settings)
    if settings.in_worker and settings.workers > 1 and not settings.force:
        raise ConfigurationError(
            f"mode {settings.mode} keeps the number in each worker, so {settings.workers} workers would hand it out "
            f"{settings.workers} times: use --mode redis, or --workers 1 (--force starts it all the same)"
        )
    return settings


def _check_limits(settings: Settings) -> None:
    for name in ("proxies", "client_keys", "max_names", "max_in_flight"):
        if getattr(settings, name) < 0:
            raise ConfigurationError(f"{name} is {getattr(settings, name)}: give how many, or 0")
    if settings.rate:
        parse_rate("rate", settings.rate)
    limited = [name for name in ("rate", "client_keys", "max_names") if getattr(settings, name)]
    if limited and MODES[settings.mode].exhibit:
        raise ConfigurationError(
            f"{limited[0]} is counted by the mode itself, and {settings.mode} does not count right: choose another mode"
        )


def _check_demo(settings: Settings) -> None:
    if not settings.demo or settings.lab:
        return
    if settings.workers > 1:
        raise ConfigurationError("the demo is served by one worker, which starts others by itself: leave out --workers")
    for name in ("tokens", "rate", "max_in_flight"):
        if getattr(settings, name):
            flag = name.replace("_", "-")
            raise ConfigurationError(f"the demo lets 100 clients in at once, whoever they are: leave out --{flag}")


def _check_secret(settings: Settings) -> None:
    if 0 < len(settings.secret_key.encode()) < MIN_SECRET:
        raise ConfigurationError(f"secret_key has fewer than {MIN_SECRET} bytes and can be guessed: {NEW_SECRET}")
    mode = MODES[settings.mode]
    if mode.per_client and not mode.exhibit and not settings.in_worker and not settings.secret_key:
        raise ConfigurationError(
            f"mode {settings.mode} keeps numbers longer than a run, and without a secret_key clients lose theirs at "
            f"each start: {NEW_SECRET}"
        )


def _with_mode_and_url(values: dict[str, Any]) -> dict[str, Any]:
    url = values.get("url", "")
    scheme = url.partition(":")[0]
    if "mode" not in values and url:
        values["mode"] = mode_of(scheme)
    mode = values.get("mode", "lock")
    if mode not in MODES:
        raise no_such_mode(mode)
    if url and scheme not in MODES[mode].schemes:
        raise ConfigurationError(
            f"mode {mode} does not use {scheme}: URLs, but {' '.join(s + ':' for s in MODES[mode].schemes)}. "
            "Leave out the mode, or the URL"
        )
    check_slashes(url)
    return {**values, "mode": mode, "url": values.get("url") or MODES[mode].default_url}
