"""Writes docs/reference.md from the code: every setting, command, route, problem, error and exit status.

    python tests/reference.py > docs/reference.md

tests/test_docs.py compares, so nothing can be added to the code and left out there.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import click

import quart_counter
from quart_counter import errors
from quart_counter.app import BODY_TIMEOUT_S
from quart_counter.cli import main
from quart_counter.cli.settings_options import NOT_FLAGS
from quart_counter.serving.service import SERVER
from quart_counter.settings import PREFIX, Settings
from quart_counter.settings.modes import MODES
from quart_counter.web import metrics, openapi, tally

INTRODUCTION = """\
Written from the code by `python tests/reference.py > docs/reference.md`; a test compares. What each thing is *for*
stands in the other pages: see [the index](README.md)."""
STATUSES = (
    (0, "valid, as expected, a clean stop"),
    (1, "invalid or unexpected: a wrong history, a store that broke its word, counters that were kept, a lost service"),
    (2, "usage, bad input, a missing extra, or a server that is not there or cannot be used"),
    (3, "inconclusive, or interrupted before the end"),
)


def page() -> str:
    """Return the whole page."""
    parts = [
        "# Reference",
        INTRODUCTION,
        *("## Settings", *settings()),
        *("## Modes", *modes()),
        *("## Commands", *commands()),
        *("## Exit statuses", *exit_statuses()),
        *("## HTTP", *routes()),
        *("## Problems", *problems()),
        *("## Metrics", *families()),
        *("## Errors of the library", *library()),
    ]
    return "\n\n".join(parts) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), ["---"] * len(list(head)), *([cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(content: object) -> str:
    return " ".join(str(content).replace("|", "\\|").split())


def code(content: object) -> str:
    return f"`{content}`" if str(content) else ""


def settings() -> Iterator[str]:
    yield (
        "A flag of `quart-counter serve` beats the environment, which beats a `--config` file (for `bind` and "
        "`workers`), which beats the default. `create_app(…)` and `QuartCounter(app, …)` take the same names."
    )
    yield table(
        ("flag", "environment", "default", "what it is"),
        (
            (
                code("" if one.name in NOT_FLAGS else f"--{one.name.replace('_', '-')}"),
                code(PREFIX + one.name.upper()),
                code(one.default),
                one.metadata["help"] + (f" (no flag: {NOT_FLAGS[one.name]})" if one.name in NOT_FLAGS else ""),
            )
            for one in fields(Settings)
        ),
    )
    yield "What Hypercorn is told, in `serve` and in `hypercorn.toml`; `--config FILE` changes it:"
    yield table(("key", "value"), ((code(key), code(value)) for key, value in sorted(SERVER.items())))


def modes() -> Iterator[str]:
    yield "A URL alone implies its mode; exhibits are wrong on purpose, for the lab."
    yield table(
        ("mode", "keeps the number", "URLs", "default"),
        (
            (code(name), one.summary, " ".join(code(f"{scheme}:") for scheme in one.schemes), code(one.default_url))
            for name, one in MODES.items()
        ),
    )


def commands() -> Iterator[str]:
    for path, command in leaves("quart-counter", main):
        yield f"### {path}"
        arguments = [one for one in command.params if isinstance(one, click.Argument)]
        usage = " ".join([path, "[OPTIONS]", *(one.make_metavar(click.Context(command)) for one in arguments)])
        yield f"`{usage}`: {sentence(command)}"
        options = [one for one in command.params if isinstance(one, click.Option) and one.name not in known(path)]
        if path.endswith(" serve"):
            yield "Every setting above that has a flag, and:"
        yield table(("option", "what it is"), ((code(" ".join(one.opts)), one.help) for one in options))


def leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, with its words."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, one in sorted(command.commands.items()):
        yield from leaves(f"{path} {name}", one)


def known(path: str) -> set[str]:
    return {one.name for one in fields(Settings)} if path.endswith(" serve") else set()


def sentence(command: click.Command) -> str:
    """The first paragraph of a command's help."""
    return inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")


def exit_statuses() -> Iterator[str]:
    yield "Of several results the worse one counts: 2 before 1 before 3 before 0."
    yield table(("status", "meaning"), STATUSES)
    told = re.compile(r"Exit status: (.*?)\.\s*(?:\n\n|\Z)", re.S)
    rows = ((path, told.search(command.help or "")) for path, command in leaves("quart-counter", main))
    yield table(("command", "exit status"), ((code(path), cell(match[1])) for path, match in rows if match))


def described() -> dict[str, Any]:
    return openapi.document(quart_counter.__version__, key_life_s=3600.0, body_timeout_s=BODY_TIMEOUT_S)


def routes() -> Iterator[str]:
    yield (
        "`/openapi.json` has all of it with schemas and examples, `/docs` shows that; any path may also answer 401 and "
        "403 (tokens), 404, 405, 429 and 503 (limits), 500."
    )
    yield table(
        ("route", "what it does", "answers"),
        (
            (code(f"{method.upper()} {path}"), operation["summary"], " ".join(operation["responses"]))
            for path, operations in described()["paths"].items()
            for method, operation in operations.items()
        ),
    )


def problems() -> Iterator[str]:
    yield "Every answer from 400 on is a problem document (RFC 9457); its `detail` says what to do."
    kinds: dict[tuple[int, str], list[str]] = {}
    for example in examples(described()):
        problem = example["value"]
        kinds.setdefault((problem["status"], problem["type"]), []).append(example["summary"])
    yield table(
        ("status", "type", "when"),
        ((status, code(kind), "; ".join(dict.fromkeys(when))) for (status, kind), when in sorted(kinds.items())),
    )


def examples(node: Any) -> Iterator[dict[str, Any]]:
    """Every example of a problem in the document."""
    if isinstance(node, dict):
        if isinstance(node.get("value"), dict) and str(node["value"].get("type", "")).startswith("urn:"):
            yield node
        for one in node.values():
            yield from examples(one)


def families() -> Iterator[str]:
    text = metrics.text([0] * tally.SLOTS, "", "")
    yield "At `/metrics`, in Prometheus text format, summed over all workers."
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.M))
    kinds = dict(re.findall(r"^# TYPE (\S+) (.*)$", text, re.M))
    yield table(("metric", "kind", "what it is"), ((code(name), kinds[name], told) for name, told in helps.items()))


def library() -> Iterator[str]:
    yield "All are importable from `quart_counter`."
    tree = inspect.getdoc(errors).split("\n\n", 1)[1]
    yield f"```text\n{tree}\n```"
    rows = []
    for name in errors.__all__:
        kind = getattr(errors, name)
        rows.append((code(name), inspect.getdoc(kind).replace("\n\n", " ").replace("\n", " ")))
    yield table(("error", "what it means"), rows)


if __name__ == "__main__":
    sys.stdout.write(page())
