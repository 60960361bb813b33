"""The files in deploy/ say what is so: every command, flag and setting in them is ours, and they were tried."""

import asyncio
import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from e2e.served import serve
from servers import a_server_of_our_own, require_program

import quart_counter
from quart_counter.cli import main
from quart_counter.serving.service import LAST_ORDERS_S, SERVER
from quart_counter.settings import PREFIX, Settings, load_settings
from quart_counter.stores import open_store

PACKAGE = Path(quart_counter.__file__).parent
ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GRACE_S = SERVER["graceful_timeout"] + LAST_ORDERS_S
SECRETS = {
    "QUART_COUNTER_TOKENS": f"id=ops scope=admin sha256={'0' * 64}",
    "QUART_COUNTER_SECRET_KEY": "0" * 64,
}


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)  # systemd adds lines up
    parsed.optionxform = str
    parsed.read(DEPLOY / "quart-counter.service")
    return parsed


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def of(instruction: str) -> list[str]:
    return [rest for word, rest in instructions() if word == instruction]


def environment(lines: str) -> dict[str, str]:
    """The lines of an environment file; those commented out are advice, and as real."""
    return dict(line.lstrip("#").split("=", 1) for line in lines.splitlines() if re.match(r"#?QUART_COUNTER_", line))


def settings_of(environ: Mapping[str, str]) -> Settings:
    names = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    assert {name for name in environ if name.startswith(PREFIX)} <= names
    return load_settings({**environ, **{name: SECRETS[name] for name in SECRETS if name in environ}})


def is_a_command(words: list[str]) -> None:
    """`quart-counter serve …` with flags that are there."""
    assert Path(words[0]).name == "quart-counter"
    assert CliRunner().invoke(main, [*words[1:], "--help"]).exit_code == 0


def seconds(text: str) -> float:
    return float(re.fullmatch(r"(\d+)s?", text)[1])


def test_the_image_runs_what_we_have():
    is_a_command([*json.loads(of("ENTRYPOINT")[0]), *json.loads(of("CMD")[0])])
    (extras,) = re.findall(r"/build\[([a-z,]+)\]", of("RUN")[0])
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    for copied in of("COPY"):
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists() or (PACKAGE.parent / source).exists()  # the package, or the wheel of it


def test_the_image_is_slim_and_of_a_python_that_we_support():
    (base,) = of("FROM")
    version = re.fullmatch(r"python:(3\.\d+)-slim", base)[1]
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


def test_the_image_does_not_run_as_root():
    words = [word for word, _ in instructions()]
    assert int(of("USER")[-1]) >= 1000
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")


def test_what_the_image_needs_is_not_ignored():
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == {source for copied in of("COPY") for source in copied.split()[:-1]}


@pytest.mark.skipif(not (ROOT / "quart_counter").is_dir(), reason="the suite runs against a wheel: no source to build")
def test_what_the_image_copies_is_enough_to_build_from(tmp_path):
    for source in (source for copied in of("COPY") for source in copied.split()[:-1]):
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / source)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "dist").glob("quart_counter-*.whl"))


def test_the_images_settings_are_ours_and_its_port_is_the_one_exposed():
    environ = dict(word.split("=", 1) for word in shlex.split(" ".join(of("ENV"))))
    assert settings_of(environ).bind == f"0.0.0.0:{of('EXPOSE')[0]}"


def healthcheck() -> list[str]:
    return json.loads(re.search(r"CMD (\[.*\])", of("HEALTHCHECK")[0])[1])


async def test_the_images_healthcheck_tells_up_from_down():
    python, *arguments = healthcheck()
    assert python == "python"
    async with serve() as served:
        at_home = [argument.replace("http://127.0.0.1:8000", served.url) for argument in arguments]
        assert at_home != arguments
        assert await status([sys.executable, *at_home]) == 0
    assert await status([sys.executable, *at_home]) != 0


async def status(command: list[str]) -> int:
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    return done.returncode


def test_compose_runs_the_image_with_settings_that_are_ours():
    app = COMPOSE["services"]["app"]
    settings = settings_of({name: str(value) for name, value in app["environment"].items()})
    assert (settings.mode, settings.workers, settings.url) == ("redis", 2, "redis://valkey:6379/0")
    assert (DEPLOY / app["build"]["context"] / app["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert app["ports"] == [f"127.0.0.1:8000:{of('EXPOSE')[0]}"]
    assert set(app["depends_on"]) <= set(COMPOSE["services"])


def test_compose_and_the_unit_wait_longer_than_a_drain():
    for service in COMPOSE["services"].values():
        assert seconds(service["stop_grace_period"]) > GRACE_S
        assert service["restart"] == "always"
    assert seconds(unit()["Service"]["TimeoutStopSec"]) > GRACE_S
    for file in ("compose.yaml", "quart-counter.service"):
        assert f"{GRACE_S:.0f} s" in (DEPLOY / file).read_text()


async def test_composes_valkey_promises_to_survive_a_power_cut():
    """Its own flags, on a server that is here, looked at as the service looks."""
    _, *flags = COMPOSE["services"]["valkey"]["command"]
    with a_server_of_our_own("redis", extra_args=flags) as server:
        async with open_store(server.url) as store:
            assert (store.guarantees.durable, store.guarantees.exactly_once) == ("power_loss", True)


def test_the_unit_starts_what_we_have_and_starts_it_again():
    service = unit()["Service"]
    is_a_command(service["ExecStart"].split())
    assert service["Restart"] == "always"
    assert "RestartPreventExitStatus" not in service, "a store on another machine may be up later than we are"
    assert unit()["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["EnvironmentFile"] == "/etc/quart-counter.env"


def test_the_units_settings_are_ours_and_its_numbers_outlive_it():
    settings = settings_of(environment((DEPLOY / "quart-counter.env").read_text()))
    assert (settings.mode, settings.workers, settings.proxies) == ("sqlite", 2, 1)
    assert unit()["Service"]["WorkingDirectory"] == f"/var/lib/{unit()['Service']['StateDirectory']}"


def test_systemd_finds_no_fault_with_the_unit(tmp_path):
    require_program("systemd-analyze", "systemd")
    here = tmp_path / "quart-counter.service"
    command = Path(sys.executable).with_name("quart-counter")
    here.write_text((DEPLOY / here.name).read_text().replace("/opt/quart-counter/bin/quart-counter", str(command)))
    done = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, check=False)
    faults = [line for line in (done.stdout + done.stderr).splitlines() if here.name in line]
    assert not faults, "other units of this machine are no business of ours"


def test_the_unit_gives_the_service_no_more_than_it_needs():
    """systemd's own marks, 0 to 10: a unit without hardening has 9.6."""
    require_program("systemd-analyze", "systemd")
    ask = ["systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=20"]  # 2.0
    done = subprocess.run([*ask, DEPLOY / "quart-counter.service"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
