"""The pages: every link leads somewhere, every command that is shown exists, and the reference is the code's."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import reference

from quart_counter.cli import main

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ids = [str(page.relative_to(ROOT)) for page in PAGES]


def test_the_reference_is_the_codes():
    told, true = (ROOT / "docs" / "reference.md").read_text(), reference.page()
    assert told == true, "run: python tests/reference.py > docs/reference.md"


@pytest.mark.parametrize("path", [path for path, _ in reference.leaves("quart-counter", main)])
def test_every_command_says_its_exit_statuses(path):
    assert f"| `{path}` | 0 " in reference.page()


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def commands(page: Path) -> Iterator[list[str]]:
    """The `quart-counter …` lines of a page's shell blocks, as words, without what follows them in a pipe."""
    for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.M | re.S):
        for line in block.splitlines():
            for words in parts(line):
                if words and Path(words[0]).name == "quart-counter":
                    yield words[1:]


def parts(line: str) -> Iterator[list[str]]:
    """The commands of a line of shell, each as words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    part: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;<>()"):
            yield part
            part = []
        else:
            part.append(word)
    yield part


SHOWN = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=[f"{page.name}: {' '.join(words)}" for page, words in SHOWN])
def test_every_command_shown_is_one(page, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command: click.Command = main
    while isinstance(command, click.Group):
        name, *words = words
        assert name in command.commands, name
        command = command.commands[name]
    command.make_context(command.name, words)  # parses and checks, and runs nothing


def test_commands_are_found_where_they_are_shown():
    assert len(SHOWN) > 20


def blocks(page: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)


def test_contributing_names_tests_that_are_there():
    (line,) = [line for line in blocks("CONTRIBUTING.md")[0].splitlines() if "pytest" in line]
    assert all((ROOT / word).exists() for word in line.split() if word.startswith("tests/"))


def test_the_move_in_short_moves(tmp_path, monkeypatch):
    """The commands of the section "In short", as they stand there."""
    monkeypatch.chdir(tmp_path)
    from click.testing import CliRunner

    assert CliRunner().invoke(main, ["import", "--start", "tickets=7", "--url", "sqlite:counters.db"]).exit_code == 0
    for line in blocks("docs/move.md")[0].splitlines():
        assert CliRunner().invoke(main, line.split()[1:]).exit_code == 0, line
    assert (tmp_path / "counters.ndjson").read_text() == '{"name":"tickets","value":7,"version":1}\n'
    assert (tmp_path / "counters" / "tickets.count").exists()
