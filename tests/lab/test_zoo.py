"""Every example raced by the real command: each right or wrong in its one way, and told so.

pytest -m soak tests/lab/test_zoo.py     ten fresh runs of each that is wrong, twenty of each that is right
"""

import ast
import re

import pytest
from servers import require_program
from zoo import EXAMPLES, App, Raced, command, kinds, run, table, the_zoo

from quart_counter.lab.diagnosis import KINDS
from quart_counter.local.process import free_port

ZOO = the_zoo()
STATUS = {"NO_RACE_SEEN": 0, "RACY": 1}
FASTEST_TOLD_S = 10.0  # the promise for an idle machine
SHARED = {"django_project.py", "zoo.toml"}
PAGE = EXAMPLES.parent / "docs" / "race-your-own-app.md"
UPDATE = "print them with: python tests/lab/zoo.py --markdown"


def needs_node(app):
    if app.start.startswith("node "):
        require_program("node", "nodejs")


@pytest.fixture
def store(request) -> str:
    """The address of the shared store that the app counts in, for those that need one."""
    return request.getfixturevalue(request.param).url if request.param else ""


def params(apps):
    servers = {"postgres": "postgres_server", "redis": "redis_server"}
    needed = {app.name: next((servers[name] for name in servers if app.needs(name)), "") for app in apps}
    return [pytest.param(app, needed[app.name], id=app.name) for app in apps]


def as_expected(app: App, raced: Raced):
    """Verdict, kind and status; what was said otherwise is shown."""
    assert raced.outcome == app.expected, raced.row
    assert raced.status == STATUS[app.verdict], raced.errors
    if app.verdict == "RACY":
        assert raced.row["diagnosis"]["sentence"].count("looks like") == 1
        assert len(raced.row["diagnosis"]["witness"]) in (2, 3)


@pytest.mark.parametrize(("app", "store"), params(ZOO), indirect=["store"])
def test_the_race_tells_what_it_is(app, store):
    """Started as its docstring says, raced once, or as often in a row as its entry says."""
    needs_node(app)
    for raced in run(app, store):
        as_expected(app, raced)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("app", "store"), params(ZOO), indirect=["store"])
def test_the_race_tells_it_every_time(app, store):
    """No wrong app gets away, and no right one is accused, in fresh runs of less than ten seconds each."""
    needs_node(app)
    for _ in range(20 if app.verdict == "NO_RACE_SEEN" else 10):
        for raced in run(app, store):
            as_expected(app, raced)
            assert raced.seconds < FASTEST_TOLD_S


def test_the_zoo_has_every_kind():
    """At least sixteen apps, all diagnoses that have a name, both verdicts, and Node."""
    assert len({app.start.split()[-1] for app in ZOO}) >= 16
    assert {app.looks_like for app in ZOO} == {*KINDS, None} - {"unclear"}
    assert {app.verdict == "RACY" for app in ZOO if app.start.startswith("node")} == {True, False}
    assert all((app.verdict == "RACY") == (app.looks_like is not None) for app in ZOO)


@pytest.mark.parametrize("file", sorted({file.name for file in EXAMPLES.glob("*.*")} - SHARED))
def test_every_example_says_what_it_is_and_is_raced(file):
    """Its first line begins with its one way of being right or wrong; then comes how it is started."""
    text = (EXAMPLES / file).read_text()
    told = ast.get_docstring(ast.parse(text)) if file.endswith(".py") else text.replace("// ", "")
    starts = [app.start for app in ZOO if app.file == file]
    assert told.startswith(("Right", "Wrong", "The question's own app, right"))
    assert starts
    for start in starts:
        command = " ".join(word for word in start.split() if "{" not in word and word not in ("-b", "--port"))
        assert {word for word in command.split() if not word.isdigit()} <= set(told.split()), command


def test_the_page_shows_the_tables_and_the_output():
    """What docs/race-your-own-app.md prints is printed here: the tables to the letter."""
    page = PAGE.read_text()
    assert kinds() in page, UPDATE
    assert table() in page, UPDATE


@pytest.mark.parametrize(("file", "options"), [("threads_pause.py", []), ("threads_count.py", ["--repeat", "10"])])
def test_the_page_shows_what_is_said(file, options):
    """The output is what the command says, in all but its figures."""
    (shown,) = re.findall(rf"<!-- raced: {file} -->\n```text\n(.*?)```", PAGE.read_text(), re.S)
    app = next(app for app in ZOO if app.file == file)
    port = free_port()
    with app.served(port, ""):
        said = command(f"http://127.0.0.1:{port}{app.path}", *options).stdout
    assert without_figures(said) == without_figures(shown)


def without_figures(text: str) -> list[str]:
    """The words; no numbers, no units, no lanes."""
    return [word for word in re.findall(r"[A-Za-z_]+", text) if word not in ("ms", "us", "s")]
