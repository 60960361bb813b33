"""Settings: flag beats environment beats file beats default, and every mistake is told in a sentence that mends it."""

import dataclasses

import pytest

from quart_counter.errors import ConfigurationError
from quart_counter.model import MAX_KEYS
from quart_counter.settings import PREFIX, Settings, load_settings, passed_over
from quart_counter.settings.modes import MODES, mode_of, no_such_mode

DEFAULTS = {
    "mode": "lock",
    "url": "memory:",
    "workers": 1,
    "bind": "127.0.0.1:8000",
    "server": "hypercorn",
    "loop": "auto",
    "secret_key": "",
    "store_timeout_s": 1.0,
    "deadline_s": 5.0,
    "key_life_s": 3600.0,
    "max_keys": MAX_KEYS,
    "force": False,
    "lab": False,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_defaults(name):
    assert getattr(load_settings({}), name) == DEFAULTS[name]


# For each setting what the environment says, and what a flag says instead; neither is the default.
BY_KIND = {bool: ("1", False), int: ("7", 8), float: ("9.5", 8.5), str: ("env", "flag")}
SPECIAL = {
    "mode": ("redis", "bare"),
    "url": ("redis://env:1/0", "redis://flag:1/0"),
    "key_life_s": ("100", 200.0),
    "secret_key": ("s" * 16, "t" * 16),
    "server": ("uvicorn", "hypercorn"),
    "loop": ("uvloop", "asyncio"),
    "log": ("json", "off"),
    "rate": ("100/1s", "5/1m"),
}
OTHERS = {one.name: SPECIAL.get(one.name, BY_KIND[type(one.default)]) for one in dataclasses.fields(Settings)}
FOR_MANY_WORKERS = {"QUART_COUNTER_MODE": "redis"}


def test_every_setting_says_what_it_is_for():
    for field in dataclasses.fields(Settings):
        assert len(field.metadata["help"]) > 10, field.name


@pytest.mark.parametrize("name", OTHERS)
def test_the_environment_beats_the_default_and_a_flag_beats_both(name):
    in_environ, flag = OTHERS[name]
    environ = {PREFIX + name.upper(): in_environ}
    if name in ("workers", "url"):
        environ |= FOR_MANY_WORKERS
    default = getattr(Settings(), name)
    from_environ = getattr(load_settings(environ), name)
    assert from_environ != default
    assert type(from_environ) is type(default)
    assert str(from_environ) == ("True" if in_environ == "1" else str(type(default)(in_environ)))
    assert getattr(load_settings(environ, **{name: flag}), name) == flag


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_beats_the_default_and_the_environment_beats_the_file(name):
    in_environ, in_file = OTHERS[name]
    base = FOR_MANY_WORKERS if name in ("workers", "url") else {}
    assert getattr(load_settings(base, file={name: in_file}), name) == in_file
    environ = base | {PREFIX + name.upper(): in_environ}
    assert load_settings(environ, file={name: in_file}) == load_settings(environ)


@pytest.mark.parametrize(("name", "meant"), [("TOKEN", "TOKENS"), ("WORKRS", "WORKERS"), ("MAX_NAME", "MAX_NAMES")])
def test_a_misspelt_variable_is_an_error(name, meant):
    """One letter less, and a service would be open to everybody."""
    with pytest.raises(ConfigurationError, match=f"no setting {PREFIX}{name}: say {PREFIX}{meant}"):
        load_settings({PREFIX + name: "1"})
    assert load_settings({PREFIX + name: ""}) == load_settings({})


def test_variables_that_only_begin_alike_are_passed_over():
    """Kubernetes makes such for a service of our name, in every container beside it."""
    environ = {PREFIX + name: "x" for name in ("SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_8000_TCP_PROTO")}
    assert load_settings({**environ, PREFIX + "WORKERS": "1"}) == load_settings({})
    assert passed_over({**environ, PREFIX + "WORKERS": "1", "HOME": "/"}) == sorted(environ)


@pytest.mark.parametrize("url", ["redis:/h:1/0", "rediss:h", "redis+cluster:/h:1", "postgresql:/h/d", "memcached:h:1"])
def test_a_url_that_lacks_a_slash(url):
    """The drivers' default is another server: localhost."""
    with pytest.raises(ConfigurationError, match="two slashes"):
        load_settings({}, url=url)


@pytest.mark.parametrize("name", ["server", "loop"])
def test_a_server_or_loop_that_is_none(name):
    with pytest.raises(ConfigurationError, match=f"{name} is 'apache': give "):
        load_settings({}, **{name: "apache"})


def test_a_url_without_its_scheme_is_no_mode():
    assert "a URL to race begins with http://." in str(no_such_mode("localhost:8080/x"))


def test_a_flag_beats_a_file():
    assert load_settings({}, file={"bind": "127.0.0.1:7"}, bind="127.0.0.1:8").bind == "127.0.0.1:8"


def test_a_mistake_in_a_file_is_told():
    with pytest.raises(ConfigurationError, match="workers is 'two': give a whole number"):
        load_settings({}, file={"workers": "two"})


def test_a_flag_that_was_not_given_leaves_the_environment_alone():
    assert load_settings({"QUART_COUNTER_DEADLINE_S": "4"}, deadline_s=None).deadline_s == 4.0


def test_an_empty_variable_is_no_variable():
    assert load_settings({"QUART_COUNTER_WORKERS": "", "QUART_COUNTER_URL": ""}) == load_settings({})


def test_the_real_environment_is_the_default_one(monkeypatch):
    monkeypatch.setenv("QUART_COUNTER_BIND", "127.0.0.1:7")
    assert load_settings().bind == "127.0.0.1:7"


def test_foreign_variables_are_not_read():
    assert load_settings({"MODE": "redis", "QUART_COUNTER_NONSENSE": "1"}) == load_settings({})


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_settings({}).mode = "redis"


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("memory:", "lock"),
        ("redis://h/0", "redis"),
        ("rediss://h/0", "redis"),
        ("unix:///run/redis.sock", "redis"),
    ],
)
def test_a_url_alone_implies_the_mode(url, mode):
    settings = load_settings({}, url=url)
    assert (settings.mode, settings.url) == (mode, url)
    assert load_settings({"QUART_COUNTER_URL": url}).mode == mode


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_alone_brings_its_own_url(mode):
    settings = load_settings({}, mode=mode)
    assert settings.url == MODES[mode].default_url
    assert settings.url.partition(":")[0] in MODES[mode].schemes


@pytest.mark.parametrize("mode", MODES)
def test_mode_and_a_url_of_its_scheme_agree(mode):
    for scheme in MODES[mode].schemes:
        assert load_settings({}, mode=mode, url=f"{scheme}://rest", secret_key="x" * 16).mode == mode


def test_a_url_never_implies_an_exhibit():
    real = {scheme for mode in MODES.values() if not mode.exhibit for scheme in mode.schemes}
    assert not any(MODES[mode_of(scheme)].exhibit for scheme in real)
    for scheme in {scheme for mode in MODES.values() for scheme in mode.schemes} - real:
        with pytest.raises(ConfigurationError):
            mode_of(scheme)


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "yes"])
def test_true_in_the_environment(value):
    assert load_settings({"QUART_COUNTER_LAB": value}).lab is True


@pytest.mark.parametrize("value", ["0", "false", "False", "no"])
def test_false_in_the_environment(value):
    assert load_settings({"QUART_COUNTER_LAB": value}).lab is False


@pytest.mark.parametrize("value", [True, False])
def test_a_switch_given_as_a_flag(value):
    assert load_settings({"QUART_COUNTER_LAB": "yes"}, lab=value).lab is value


MISTAKES = {
    "no such setting": ({}, {"modes": "lock"}, ["there is no setting 'modes'", "mode, url, workers"]),
    "no such mode": ({}, {"mode": "lokc"}, ["there is no mode 'lokc'", "lock, redis"]),
    "no such scheme": ({}, {"url": "gopher://h"}, ["no mode uses gopher: URLs", "memory:", "redis:"]),
    "mode and url disagree": (
        {},
        {"mode": "lock", "url": "redis://h/0"},
        ["mode lock does not use redis: URLs, but memory:", "Leave out the mode, or the URL"],
    ),
    "mode and url disagree, the other way": (
        {},
        {"mode": "redis", "url": "memory:"},
        ["mode redis does not use memory: URLs, but redis: rediss: unix:"],
    ),
    "the flag and the environment disagree": (
        {"QUART_COUNTER_URL": "redis://h/0"},
        {"mode": "lock"},
        ["mode lock does not use redis: URLs", "Leave out the mode, or the URL"],
    ),
    "not a whole number": ({"QUART_COUNTER_WORKERS": "two"}, {}, ["QUART_COUNTER_WORKERS is 'two'", "a whole number"]),
    "half a worker": ({"QUART_COUNTER_WORKERS": "1.5"}, {}, ["QUART_COUNTER_WORKERS is '1.5'", "a whole number"]),
    "not a number": ({"QUART_COUNTER_DEADLINE_S": "soon"}, {}, ["QUART_COUNTER_DEADLINE_S is 'soon'", "a number"]),
    "not a switch": ({"QUART_COUNTER_LAB": "maybe"}, {}, ["QUART_COUNTER_LAB is 'maybe'", "1 or 0"]),
    "a flag of the wrong kind": ({}, {"workers": "two"}, ["workers is 'two'", "a whole number"]),
    "no workers": ({}, {"workers": 0}, ["workers is 0: give 1 or more"]),
    "negative workers": ({}, {"mode": "redis", "workers": -1}, ["workers is -1: give 1 or more"]),
    "no timeout": ({}, {"store_timeout_s": 0.0}, ["must be more than 0 seconds"]),
    "no deadline": ({}, {"deadline_s": 0.0}, ["must be more than 0 seconds"]),
    "negative deadline": ({}, {"deadline_s": -1.0}, ["must be more than 0 seconds"]),
    "a key that dies too early": (
        {},
        {"deadline_s": 5.0, "key_life_s": 10.0},
        ["key_life_s is 10", "more than twice deadline_s (5)"],
    ),
    "no keys": ({}, {"max_keys": 0}, ["max_keys is 0: give 1 or more"]),
    "several workers, each with numbers of its own": (
        {},
        {"workers": 4},
        ["mode lock keeps the number in each worker", "4 workers", "use --mode redis, or --workers 1", "--force"],
    ),
}


@pytest.mark.parametrize(("environ", "given", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told(environ, given, words):
    with pytest.raises(ConfigurationError) as raised:
        load_settings(environ, **given)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("name", ["store_timeout_s", "deadline_s", "key_life_s"])
def test_a_time_that_is_no_time_is_refused(name, number):
    with pytest.raises(ConfigurationError):
        load_settings({PREFIX + name.upper(): number})


def test_a_url_without_a_scheme_is_refused():
    with pytest.raises(ConfigurationError):
        load_settings({}, url=":6379")


def test_force_starts_several_workers_all_the_same():
    assert load_settings({}, workers=4, force=True).workers == 4


@pytest.mark.parametrize("mode", [name for name, mode in MODES.items() if mode.default_url != "memory:"])
def test_a_shared_mode_takes_several_workers(mode):
    assert load_settings({}, mode=mode, workers=4).workers == 4


def test_a_key_that_lives_just_long_enough():
    assert load_settings({}, deadline_s=5.0, key_life_s=10.1).key_life_s == 10.1


@pytest.mark.parametrize("given", [{"mode": "lock"}, {"url": "gopher://:hunter2@h"}, {"mode": "lokc"}])
def test_no_sentence_repeats_the_password(given):
    given = {"url": "redis://:hunter2@h/0"} | given
    with pytest.raises(ConfigurationError) as raised:
        load_settings({}, **given)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"secret_key": "15 bytes long.."}, "fewer than 16 bytes"),
        ({"mode": "session", "url": "redis://h/0"}, "without a secret_key clients lose theirs"),
        ({"proxies": -1}, "proxies is -1"),
        ({"max_names": -1}, "max_names is -1"),
        ({"rate": "much"}, "write a rate as"),
        ({"rate": "1/1s", "mode": "redis-get-set"}, "does not count right"),
        ({"max_names": 7, "mode": "bare"}, "does not count right"),
    ],
)
def test_what_would_be_weak_is_refused(given, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        load_settings({}, **given)


def test_a_session_that_ends_with_its_worker_needs_no_secret():
    assert load_settings({}, mode="session").secret_key == ""
