"""What is built is what is here: the wheel, made from the sdist, installed beside nothing of ours, serves and races."""

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.raw import ask
from e2e.served import clean_environment, outcome, started

import quart_counter

ROOT = Path(__file__).parents[1]
PACKAGE = Path(quart_counter.__file__).parent
VERSION = quart_counter.__version__

if not (ROOT / "quart_counter").is_dir():
    pytest.skip("there is no source here to build: the suite runs against a wheel", allow_module_level=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that the sdist makes."""
    dist = tmp_path_factory.mktemp("dist")
    build(ROOT, "sdist", dist)
    with tarfile.open(dist / f"quart_counter-{VERSION}.tar.gz") as archive:
        archive.extractall(dist / "unpacked", filter="data")
    build(dist / "unpacked" / f"quart_counter-{VERSION}", "wheel", dist)
    return dist


def build(source: Path, target: str, into: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


@pytest.fixture(scope="module")
def python(built: Path) -> Iterator[str]:
    """An interpreter with the wheel installed, and our libraries lent to it; nothing comes from the network."""
    home = built / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    wheel = next(built.glob("*.whl"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel]
    subprocess.run(install, check=True, capture_output=True, env={**clean_environment(), "PYTHONWARNINGS": "ignore"})
    lent = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    site = sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)})
    Path(site, "lent.pth").write_text(lent)
    return str(python)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the source tree, where `import quart_counter` would find that."""
    monkeypatch.chdir(tmp_path)


def test_every_file_of_the_package_is_in_the_wheel(built):
    here = {
        str(path.relative_to(PACKAGE.parent))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == here
    kinds = {Path(name).suffix for name in packed}
    assert kinds >= {".py", ".lua", ".sql", ".html", ".css"}
    assert "quart_counter/py.typed" in packed


def test_the_sdist_brings_what_its_tests_need(built):
    unpacked = built / "unpacked" / f"quart_counter-{VERSION}"
    for name in ("tests/conftest.py", "deploy/Dockerfile", "docs/reference.md", "SECURITY.md", "examples/zoo.toml"):
        assert (unpacked / name).exists(), name


def test_the_version_is_written_once(built):
    assert f'"{VERSION}"' not in (ROOT / "pyproject.toml").read_text()
    writing = [path.name for path in PACKAGE.rglob("*.py") if f'"{VERSION}"' in path.read_text()]
    assert writing == ["__init__.py"]
    assert next(built.glob("*.whl")).name == f"quart_counter-{VERSION}-py3-none-any.whl"


def test_the_command_is_installed(python):
    command = str(Path(python).with_name("quart-counter"))
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"quart-counter {VERSION}\n"
    assert "export" in subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout


def test_it_is_the_wheel_that_is_tried(python, built):
    where = "import quart_counter; print(quart_counter.__file__)"
    found = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(built / "venv")


async def test_the_wheel_serves_its_page_and_counts(python):
    async with started("serve", "--bind", "127.0.0.1:0", python=python) as served:
        url = (await served.says(r"listening on\s+(http://\S+)"))[1]
        assert (await ask(url, "POST", "/counters/tickets/increment")).json["value"] == 1
        page = await ask(url, "GET", "/")
        assert (page.status, b"</html>" in page.body) == (200, True)
        assert (await ask(url, "GET", "/static/page.css")).status == 200
        assert (await ask(url, "GET", "/docs")).status == 200


async def test_the_wheel_counts_in_a_store_and_races(python):
    status, _ = await outcome("import", "--start", "tickets=5", "--url", "sqlite:counters.db", python=python)
    assert status == 0
    status, said = await outcome("race", "lock", "--clients", "20", "--json", python=python)
    assert (status, json.loads(said)["rows"][0]["verdict"]) == (0, "SAFE")
