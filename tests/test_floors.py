"""The floors of the house (design, part 3): imports go down only, and this test reads every import there is."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import quart_counter

HOUSE = "quart_counter"
ROOT = Path(quart_counter.__file__).parent

# Where each module lives; `folder.*` is everything in a folder and in its folders. A module may import its
# own floor and those below.
FLOORS: Mapping[str, int] = {
    "errors": 0,
    "keys": 0,
    "model": 0,
    "settings": 0,
    "settings.*": 0,
    "access": 0,
    "access.rates": 0,
    "access.tokens": 0,
    "local": 0,
    "local.*": 0,
    "serving.siblings": 1,
    "stores.base": 1,
    "stores.ledger": 1,
    "stores.shelf": 1,
    "stores.sql": 1,
    "stores.thread": 1,
    "stores.memory": 1,
    "stores.redis": 1,
    "stores.redis.*": 1,
    "stores.sqlite": 1,
    "stores.sqlite.*": 1,
    "stores.postgres": 1,
    "stores.postgres.*": 1,
    "stores.mysql": 1,
    "stores.mysql.*": 1,
    "stores.memcached": 1,
    "stores.memcached.*": 1,
    "stores.manager": 1,
    "stores.manager.*": 1,
    "stores.file": 1,
    "stores.file.*": 1,
    "counters.combiner": 1,
    "counters.errands": 1,
    "tickets": 1,
    "stores": 2,
    "counters": 2,
    "counters.readings": 2,
    "counters.sessions": 2,
    "transfer": 0,
    "transfer.rows": 1,
    "transfer.naming": 1,
    "transfer.moving": 2,
    "transfer.from_file": 2,
    "transfer.from_redis": 2,
    "transfer.from_sql": 2,
    "access.throttle": 2,
    "access.places": 2,
    "client": 2,
    "client.*": 2,
    "web": 3,
    "web.*": 3,
    "": 4,  # quart_counter/__init__.py
    "access.guard": 4,
    "app": 4,
    "asgi": 4,
    "asgi.*": 4,
    "serving": 4,
    "serving.listening": 4,
    "serving.service": 4,
    "serving.banner": 4,
    "serving.worker": 5,
    "serving.serve_command": 5,
    "access.token_command": 5,
    "transfer.terminal": 5,
    "transfer.export_command": 5,
    "transfer.import_command": 5,
    "testing": 5,
    "pytest_plugin": 5,
    "cli": 5,
    "cli.*": 5,
    "__main__": 5,
    # the second tower
    "extras": 0,
    "lab": 0,
    "lab.history": 0,
    "lab.steps": 0,
    "lab.lanes": 1,
    "lab.witness": 1,
    "lab.checker": 1,
    "lab.checker.*": 1,
    "lab.diagnosis": 1,
    "lab.diagnosis.*": 1,
    "lab.proxy": 0,
    "lab.exhibits": 3,  # some of them are ways of asking Quart to count
    "lab.exhibits.*": 3,
    "lab.backends": 4,
    "lab.foreign": 2,
    "lab.foreign.*": 2,
    "lab.foreign.report": 5,
    "lab.html": 2,
    "lab.html.*": 2,
    "lab.race": 4,
    "lab.race.load": 2,
    "lab.race.scope": 2,
    "lab.race.explain": 4,
    "lab.race.report": 5,
    "lab.demo": 4,
    "lab.demo.*": 4,
    "lab.matrix": 4,
    "lab.matrix.house": 4,
    "lab.matrix.price": 4,
    "lab.matrix.trials": 4,
    "lab.matrix.table": 5,
    "lab.progress": 5,
    "lab.check_command": 5,
}
BACKENDS = ("memory", "redis", "sqlite", "postgres", "mysql", "memcached", "manager", "file")
STORES = {f"stores.{backend}" for backend in BACKENDS}  # what lies beside them is what stores share
LOWEST_FLOOR = {"quart": 3, "werkzeug": 3, "hypercorn": 4, "click": 5}  # who may say `request`, serve, and print
HOMES = {
    "httpx": {"client", "lab.race.load"},
    "redis": {"stores.redis", "lab.exhibits", "transfer.from_redis"},
}


@dataclass(frozen=True)
class Import:
    """One import: what, where in the file, and when it runs ("start", "call" or "never": for type checkers only)."""

    target: str
    line: int
    when: str


@dataclass(frozen=True)
class Module:
    """One file: its name inside the house ("" for the house itself), its source, its imports."""

    name: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def floor(self) -> int:
        return floor_of(self.name)

    def at(self, one: Import) -> str:
        return f"{HOUSE}.{self.name}, line {one.line}, imports {one.target}".replace(f"{HOUSE}.,", f"{HOUSE},")


def place_of(name: str) -> str | None:
    """The entry of FLOORS that places a module: its own, else that of the nearest folder."""
    folders = [name]
    while folder := folders[-1].rpartition(".")[0]:
        folders.append(folder)
    return next((entry for entry in (name, *(f"{folder}.*" for folder in folders[1:])) if entry in FLOORS), None)


def has_a_floor(name: str) -> bool:
    return place_of(name) is not None


def floor_of(name: str) -> int:
    place = place_of(name)
    assert place is not None, f"{name} has no floor"
    return FLOORS[place]


def within(target: str) -> str | None:
    """The name inside the house, or None for a stranger."""
    if target == HOUSE:
        return ""
    return target.removeprefix(f"{HOUSE}.") if target.startswith(f"{HOUSE}.") else None


def read(sources: Mapping[str, str]) -> dict[str, Module]:
    """Parse {name inside the house: source}."""
    return {
        name: Module(name, tree := ast.parse(source), tuple(imports(tree, set(sources))))
        for name, source in sources.items()
    }


def imports(tree: ast.AST, known: set[str], when: str = "start") -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, when)
        elif isinstance(node, ast.ImportFrom):
            yield from from_import(node, known, when)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(node, known, "call")
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from imports(node, known, "never")
        else:
            yield from imports(node, known, when)


def from_import(node: ast.ImportFrom, known: set[str], when: str) -> Iterator[Import]:
    home = "." * node.level + (node.module or "")
    for alias in node.names:
        full = f"{home}.{alias.name}"
        is_module = within(full) in known
        yield Import(full if is_module else home, node.lineno, when)


@cache
def the_house() -> Mapping[str, Module]:
    sources = {}
    for file in ROOT.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text()
    return read(sources)


def inner(module: Module) -> Iterator[tuple[Import, str]]:
    """The module's imports from the house itself, each once, with the name inside the house."""
    for one in module.imports:
        name = within(one.target)
        if name is not None:
            yield one, name


def without_a_floor(house: Mapping[str, Module]) -> Iterator[str]:
    for name in house:
        if not has_a_floor(name):
            yield (
                f"{HOUSE}.{name} has no floor: place it in FLOORS of tests/test_floors.py, and in the plan of the "
                "house, as low as its imports allow"
            )


def relative(house: Mapping[str, Module]) -> Iterator[str]:
    for module in house.values():
        for one in module.imports:
            if one.target.startswith("."):
                yield f"{module.at(one)}: say {HOUSE}.… in full"


def upwards(house: Mapping[str, Module]) -> Iterator[str]:
    for module in house.values():
        for one, name in inner(module):
            if has_a_floor(name) and floor_of(name) > module.floor:
                yield f"{module.at(one)}: floor {module.floor} must not look up to floor {floor_of(name)}"


def circles(house: Mapping[str, Module]) -> Iterator[str]:
    """Modules that need each other before either of them is there."""
    needs = {
        module.name: {name for one, name in inner(module) if one.when == "start" and name in house}
        for module in house.values()
    }
    while free := {name for name, needed in needs.items() if not needed & needs.keys()}:
        needs = {name: needed for name, needed in needs.items() if name not in free}
    if needs:
        yield f"imported in a circle: {', '.join(sorted(needs))}"


def backend_of(name: str) -> str | None:
    """The store that a module is, or is a part of; None for what stores share, and for strangers."""
    store = ".".join(name.split(".")[:2])
    return store if store in STORES else None


def stores_that_know_each_other(house: Mapping[str, Module]) -> Iterator[str]:
    for module in house.values():
        if not module.name.startswith("stores."):
            continue
        for one, name in inner(module):
            if name == "stores" or backend_of(name) not in (None, backend_of(module.name)):
                yield f"{module.at(one)}: a store knows what stores share, and no other store"


def strangers_too_low(house: Mapping[str, Module]) -> Iterator[str]:
    for module in house.values():
        for one in module.imports:
            package = one.target.partition(".")[0]
            if module.floor < LOWEST_FLOOR.get(package, 0):
                yield f"{module.at(one)}: {package} is known from floor {LOWEST_FLOOR[package]} on"


def strangers_not_at_home(house: Mapping[str, Module]) -> Iterator[str]:
    for module in house.values():
        for one in module.imports:
            package = one.target.partition(".")[0]
            if package in HOMES and not any(f"{module.name}.".startswith(f"{home}.") for home in HOMES[package]):
                yield f"{module.at(one)}: {package} is used in {', '.join(sorted(HOMES[package]))} alone"


def an_unfair_judge(house: Mapping[str, Module]) -> Iterator[str]:
    """A judge that imports the accused is no judge."""
    for module in house.values():
        if not f"{module.name}.".startswith("lab.checker."):
            continue
        for one in module.imports:
            stdlib = one.target.partition(".")[0] in sys.stdlib_module_names
            name = within(one.target) or ""
            if not stdlib and name != "lab.history" and not f"{name}.".startswith("lab.checker."):
                yield f"{module.at(one)}: the checker knows lab.history alone"


def the_lab_in_the_stores(house: Mapping[str, Module]) -> Iterator[str]:
    for module in house.values():
        if not module.name.startswith("lab.") or f"{module.name}.".startswith("lab.exhibits."):
            continue
        for one, name in inner(module):
            if f"{name}.".startswith("stores."):
                yield f"{module.at(one)}: within the lab only exhibits knows the stores"


def the_house_in_the_lab(house: Mapping[str, Module]) -> Iterator[str]:
    """The service runs without the lab: only app and what stands above it know the lab, and app only when asked to."""
    for module in house.values():
        if f"{module.name}.".startswith("lab."):
            continue
        for one, name in inner(module):
            if not f"{name}.".startswith("lab."):
                continue
            if module.floor < 4:
                yield f"{module.at(one)}: the lab is known from floor 4 on"
            elif one.when == "start":
                yield f"{module.at(one)}: import the lab inside the function that needs it"


def local_is_the_standard_library(house: Mapping[str, Module]) -> Iterator[str]:
    for module in house.values():
        if not f"{module.name}.".startswith("local."):
            continue
        for one in module.imports:
            name = within(one.target)
            ours = name is not None and (name == "errors" or f"{name}.".startswith("local."))
            if not ours and one.target.partition(".")[0] not in sys.stdlib_module_names:
                yield f"{module.at(one)}: local knows the standard library, errors and itself"


def who_reads_configuration(house: Mapping[str, Module]) -> Iterator[str]:
    for module in house.values():
        if module.floor >= 4 or module.name == "settings":
            continue
        for node in ast.walk(module.tree):
            words = {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None)}
            for word in words & {"environ", "getenv", "load_settings"}:
                yield f"{HOUSE}.{module.name} says {word}: below floor 4 nobody reads configuration; give it values"


RULES = [
    without_a_floor,
    relative,
    upwards,
    circles,
    stores_that_know_each_other,
    strangers_too_low,
    strangers_not_at_home,
    an_unfair_judge,
    the_lab_in_the_stores,
    the_house_in_the_lab,
    local_is_the_standard_library,
    who_reads_configuration,
]


def broken(rule, house: Mapping[str, Module]) -> list[str]:
    placed: Iterable[Module] = (module for module in house.values() if has_a_floor(module.name))
    return sorted(rule(house if rule is without_a_floor else {module.name: module for module in placed}))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule):
    sentences = broken(rule, the_house())
    assert not sentences, "\n".join(["", *sentences])


PLANTED = [
    (without_a_floor, {"cellar": ""}, "quart_counter.cellar has no floor: place it in FLOORS"),
    (without_a_floor, {"lab.cellar": ""}, "quart_counter.lab.cellar has no floor"),
    (without_a_floor, {"stores.cellar": "", "web.x.y": ""}, "quart_counter.stores.cellar has no floor"),
    (relative, {"counters": "from . import model"}, "say quart_counter.… in full"),
    (upwards, {"model": "import quart_counter.counters"}, "floor 0 must not look up to floor 2"),
    (
        upwards,
        {"counters": "from quart_counter import errors, web", "errors": "", "web": ""},
        "imports quart_counter.web: floor 2 must not look up to floor 3",
    ),
    (upwards, {"web.api": "def f():\n    from quart_counter.app import create_app"}, "line 2"),
    (upwards, {"counters": "if TYPE_CHECKING:\n    from quart_counter import __version__"}, "floor 4"),
    (upwards, {"stores.redis": "from quart_counter.stores import open_store", "stores": ""}, "floor 2"),
    (
        circles,
        {"errors": "import quart_counter.model", "model": "from quart_counter import errors"},
        "imported in a circle: errors, model",
    ),
    (
        stores_that_know_each_other,
        {"stores.redis": "from quart_counter.stores import memory", "stores.memory": ""},
        "imports quart_counter.stores.memory: a store knows what stores share",
    ),
    (
        stores_that_know_each_other,
        {"stores.file": "async def f():\n    from quart_counter.stores.sqlite import x"},
        "and no other store",
    ),
    (
        stores_that_know_each_other,
        {"stores.mysql.session": "from quart_counter.stores.postgres.session import connect"},
        "and no other store",
    ),
    (strangers_too_low, {"counters": "from quart import request"}, "quart is known from floor 3 on"),
    (strangers_too_low, {"stores.base": "import werkzeug.exceptions"}, "werkzeug is known from floor 3 on"),
    (strangers_too_low, {"web.api": "import hypercorn"}, "hypercorn is known from floor 4 on"),
    (strangers_not_at_home, {"lab.race": "import httpx"}, "httpx is used in client, lab.race.load alone"),
    (strangers_not_at_home, {"stores.sqlite": "def f():\n    import redis.asyncio"}, "redis is used in"),
    (an_unfair_judge, {"lab.checker.parts": "from quart_counter import model", "model": ""}, "lab.history alone"),
    (an_unfair_judge, {"lab.checker": "import hypothesis"}, "lab.history alone"),
    (the_lab_in_the_stores, {"lab.race": "from quart_counter.stores import open_store"}, "only exhibits"),
    (the_lab_in_the_stores, {"lab.history": "import quart_counter.stores.base"}, "only exhibits"),
    (the_house_in_the_lab, {"app": "from quart_counter.lab import exhibits"}, "inside the function"),
    (the_house_in_the_lab, {"counters": "def f():\n    import quart_counter.lab"}, "from floor 4 on"),
    (local_is_the_standard_library, {"local.redis": "import redis"}, "local knows the standard library"),
    (local_is_the_standard_library, {"local": "import quart_counter.model"}, "local knows the standard library"),
    (who_reads_configuration, {"counters": "import os\nos.environ['X']"}, "nobody reads configuration"),
    (who_reads_configuration, {"web.api": "from os import getenv"}, "nobody reads configuration"),
    (who_reads_configuration, {"stores": "from quart_counter.settings import load_settings"}, "says load_settings"),
]


@pytest.mark.parametrize(
    ("rule", "sources", "sentence"), PLANTED, ids=[f"{i}-{rule.__name__}" for i, (rule, _, _) in enumerate(PLANTED)]
)
def test_a_broken_rule_is_told(rule, sources, sentence):
    (told,) = broken(rule, read(sources))
    assert sentence in told


def test_every_rule_was_broken_once():
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


KEPT = {
    "app": "def f():\n    from quart_counter.lab import exhibits",
    "stores.redis": "import redis\nfrom quart_counter.stores.base import Store",
    "stores": "def f():\n    from quart_counter.stores import redis",
    "lab.exhibits": "from quart_counter.stores import base",
    "lab.checker": "import bisect\nfrom quart_counter.lab.checker import parts\nfrom quart_counter.lab import history",
    "lab.checker.parts": "",
    "lab.history": "",
    "stores.base": "",
    "local.redis": "import os\nfrom quart_counter.errors import ConfigurationError",
    "client": "import httpx",
    "serving.service": "import os\nos.environ",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_kept_rule_is_not_told(rule):
    assert broken(rule, read(KEPT)) == []


def loaded_by(line: str) -> set[str]:
    """The modules that a fresh interpreter has after this line."""
    script = f"import json, sys; {line}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


HEAVY = {"redis", "quart", "httpx", "hypercorn", "werkzeug", "click", "asyncio"}


def heavy(modules: set[str]) -> set[str]:
    lab = {module for module in modules if f"{module}.".startswith(f"{HOUSE}.lab.")}
    return (modules & HEAVY) | lab


def test_a_bare_import_is_light():
    assert heavy(loaded_by("import quart_counter")) == set()


def test_the_faces_are_loaded_at_first_use():
    assert "quart" not in heavy(loaded_by("import quart_counter; quart_counter.NotApplied, quart_counter.Store"))
    assert "quart" in heavy(loaded_by("import quart_counter; quart_counter.QuartCounter"))


def test_the_app_loads_neither_the_lab_nor_a_driver():
    loaded = heavy(loaded_by("from quart_counter import create_app; create_app(mode='redis')"))
    assert loaded <= {"quart", "werkzeug", "asyncio", "click", "hypercorn"}, "Quart itself needs these"


def test_a_store_is_loaded_by_its_url():
    opened = "from quart_counter import open_store; open_store('memory:')"
    assert "redis" not in loaded_by(opened)
    assert "redis" in loaded_by(opened.replace("memory:", "redis://h/0"))
