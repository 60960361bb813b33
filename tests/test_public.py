"""The public face is what it says: `__all__` is true, and every error that is raised is drawn and exported."""

import ast
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import quart_counter
from quart_counter import errors

ROOT = Path(quart_counter.__file__).parent


@pytest.mark.parametrize("name", quart_counter.__all__)
def test_every_name_of_all_is_there(name):
    assert getattr(quart_counter, name) is not None
    assert name in dir(quart_counter)


def test_all_is_sorted_and_says_nothing_twice():
    assert quart_counter.__all__ == sorted(set(quart_counter.__all__))


def test_all_is_what_is_here_and_what_the_homes_hold():
    homes = {name for names in quart_counter._HOMES.values() for name in names}
    assert homes | {"__version__", "create_app"} == set(quart_counter.__all__)


def test_a_server_finds_the_factory_without_asking_for_attributes():
    """`hypercorn "quart_counter:create_app()"` evaluates the words in the module's own namespace."""
    assert callable(vars(quart_counter)["create_app"])


def test_type_checkers_see_the_same_names_from_the_same_homes():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {node.module: tuple(alias.name for alias in node.names) for node in block.body}
    assert {home: seen[home] for home in quart_counter._HOMES} == quart_counter._HOMES


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        quart_counter.nonsense  # noqa: B018 the access is the test


def test_the_version_is_the_distributions():
    try:
        installed = version("quart-counter")
    except PackageNotFoundError:
        pytest.skip("quart-counter runs from its folder here, not installed: run pip install -e .")
    assert quart_counter.__version__ == installed


def test_types_are_shipped():
    assert (ROOT / "py.typed").exists()


OURS = {name: one for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)}


def test_every_error_is_exported_twice():
    assert sorted(errors.__all__) == sorted(OURS)
    assert set(errors.__all__) <= set(quart_counter.__all__)


def test_the_drawing_shows_every_error_in_its_place():
    assert errors.__doc__ is not None
    root, *drawn = [line for line in errors.__doc__.splitlines() if re.match(r"\w+Error$|[├└]── ", line)]
    assert root == errors.QuartCounterError.__name__
    names = [re.match(r"[├└]── (\w+) +\S", line)[1] for line in drawn]
    assert sorted([root, *names]) == sorted(OURS)
    assert all(OURS[name].__bases__[0] is errors.QuartCounterError for name in names), "the drawing has one level"
    assert [line[0] for line in drawn] == ["├"] * (len(drawn) - 1) + ["└"]


def test_every_error_is_caught_by_the_root():
    for error in OURS.values():
        assert issubclass(error, errors.QuartCounterError)
        assert error.__doc__


# What the library (not the service, nor the lab) raises besides its own errors, and why nobody misses it. What a store
# raises inside is the business of the contract suite: `apply` raises only for bugs.
INSIDE = {
    "AssertionError": "what a test fails with: quart_counter.testing",
    "AttributeError": "what Python asks of a module's __getattr__",
    "NeverSent": "a StoreAway: between a store and its retries",
    "StoreAway": "exported by quart_counter.stores; what a read raises",
}


def raised_in(file: Path) -> set[tuple[str, int]]:
    """Names of what the file raises by name; a bare `raise`, or one of a caught or made error, is not news."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            spoken = ast.unparse(node.exc.func)
            found |= {(word, node.lineno) for word in re.findall(r"(?:\w+\.)*([A-Z]\w+)", spoken)}
    return found


LIBRARY = sorted(
    {file for file in ROOT.glob("*.py") if file.name != "__main__.py"} | {*(ROOT / "stores").glob("_*.py")}
)


# Raised and caught in the same function: they never leave it.
CAUGHT_AT_ONCE = {("counters/combiner.py", "RuntimeError")}


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_raised_is_exported_or_stays_inside(file):
    strangers = {
        f"{file.relative_to(ROOT)}:{line} raises {name}: draw it in errors.py, or say in INSIDE why nobody sees it"
        for name, line in raised_in(file)
        if name not in OURS and name not in INSIDE and (str(file.relative_to(ROOT)), name) not in CAUGHT_AT_ONCE
    }
    assert not strangers, "\n".join(sorted(strangers))


def test_a_stranger_would_be_seen(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "def f(error):\n    raise error\n    raise\n    raise errors.NotApplied('x')\n    raise KeyError('x')\n"
    )
    assert raised_in(file) == {("NotApplied", 4), ("KeyError", 5)}
