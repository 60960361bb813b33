"""The commands. Thin: each reads its options, calls the room that does the work, and turns the result into a status."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import click

from quart_counter import __version__
from quart_counter.cli import race_options, settings_options
from quart_counter.errors import ConfigurationError
from quart_counter.extras import install


class _Group(click.Group):
    """Turns a ConfigurationError into one sentence and status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            click.echo(f"Error: {error}.", err=True)
            ctx.exit(2)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("quart_counter"):
                raise
            click.echo(f"Error: the lab needs the package {error.name}: run {install('lab')}.", err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="quart-counter %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Every request gets its own number, and a lab that shows what happens when it does not.

    \b
    quart-counter serve                            count in this process, one worker
    quart-counter serve --mode redis --workers 4   count in Redis, four workers
    quart-counter race                             see what goes wrong without them
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False


@main.command()
@settings_options.every_setting
@click.option("--with-redis", is_flag=True, help="start a private Redis for this run, and count in it")
@click.option("--config", "config_file", type=click.Path(), help="a Hypercorn TOML file for the server's own settings")
def serve(with_redis: bool, config_file: str | None, **given: Any) -> None:
    """Serve counters over HTTP.

    \b
    quart-counter serve
    quart-counter serve --with-redis --workers 2
    curl -X POST http://127.0.0.1:8000/counters/tickets/increment

    Every option is also read from the environment, as QUART_COUNTER_<NAME>. SIGTERM drains, Ctrl-C is quicker.

    Exit status: 0 it was stopped, 1 it could not go on, 2 it could not start.
    """
    from quart_counter.serving import serve_command

    sys.exit(asyncio.run(serve_command.serve(given, with_redis=with_redis, config_file=config_file)))


@main.group()
def token() -> None:
    """Tokens, for a service that asks who is there.

    \b
    quart-counter token new --scope admin --file tokens
    quart-counter serve --tokens tokens
    """


@token.command("new")
@click.option(
    "--scope", "scopes", multiple=True, required=True, help="read, increment, set or admin; several, or with commas"
)
@click.option("--prefix", "prefixes", multiple=True, help="only counters whose names begin so; several, or with commas")
@click.option("--expires", default="", metavar="LIFE", help="when it ends: 30d, 12h, 90m  [default: never]")
@click.option(
    "--id", default="", help="the client's name in logs; tokens with one id are one client  [default: random]"
)
@click.option("--rate", default="", help="requests it may make, such as 100/1s")
@click.option("--max-names", type=click.IntRange(1), help="counters it may begin")
@click.option("--file", type=click.Path(dir_okay=False), help="put the line into this file")
def token_new(scopes: tuple[str, ...], prefixes: tuple[str, ...], **options: Any) -> None:
    """Make a token: print it once, and the line that lets the service know it.

    \b
    quart-counter token new --scope admin --file tokens
    quart-counter token new --scope read,increment --prefix tickets. --expires 30d --file tokens
    quart-counter serve --tokens tokens
    curl -X POST -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/counters/tickets.a/increment

    Exit status: 0 made, 2 bad input.
    """
    from quart_counter.access import token_command

    token_command.new(scopes, prefixes, **options)


@main.command()
@click.argument("modes", nargs=-1, metavar="[MODE]...|URL")
@click.option("--workers", type=click.IntRange(1, 64), help="worker processes, for the modes named")
@click.option("--clients", type=click.IntRange(1, 1000), default=100, show_default=True, help="clients, all at once")
@click.option("--requests", type=click.IntRange(1), help="requests in all  [default: one a client]")
@click.option("--url", help="the Redis to race; without it a private one is started")
@click.option(
    "--history", "history_dir", type=click.Path(file_okay=False), help="keep every recorded call in this folder"
)
@click.option("--html", "html_file", type=click.Path(), help="write a page for people to FILE", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
@click.option("--explain", is_flag=True, help="then tell the collisions step by step")
@race_options.of_a_url
def race(modes: tuple[str, ...], **options: Any) -> None:
    """Race the service itself, right and wrong ways of counting, one row each, or anybody's URL that answers a number.

    \b
    quart-counter race
    quart-counter race redis --workers 4 --requests 2000
    quart-counter race http://127.0.0.1:5000/tickets

    A URL needs a server that runs, on this machine or on a host of yours (--i-own). Where its answer holds exactly one
    integer that is the number; --answer names another.

    \b
    Exit status: 0 as expected, 1 not as expected, 2 something is missing, 3 inconclusive.
    Of a URL:    0 no race seen, 1 racy, 2 something is missing, 3 inconclusive.
    """
    of_a_url = race_options.for_a_url(modes, options)
    if of_a_url is not None:
        from quart_counter.lab.foreign import report as foreign

        sys.exit(foreign.race(modes[0], foreign.Asked(**of_a_url)))
    from quart_counter.lab.race import report

    sys.exit(report.race(modes, **race_options.for_modes(options)))


@main.command()
@click.argument("modes", nargs=-1, metavar="[MODE]...")
@click.option("--quick", is_flag=True, help="fewer requests: a minute, for CI")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
@click.option("--markdown", "as_markdown", is_flag=True, help="print the table as Markdown")
def matrix(modes: tuple[str, ...], **options: bool) -> None:
    """Answer the question by measuring: every way of counting, who shares the number, what it survives, what it costs.

    \b
    quart-counter matrix
    quart-counter matrix sqlite redis --quick

    Exit status: 0 as declared, 1 a store broke what it declares, 2 something is missing, 3 inconclusive.
    """
    from quart_counter.lab.matrix import table

    sys.exit(table.matrix(modes, **options))


@main.command()
@click.argument("modes", nargs=-1, metavar="[MODE]...")
@click.option("--url", "urls", multiple=True, help="a store to look at; may be given several times")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
def doctor(modes: tuple[str, ...], urls: tuple[str, ...], as_json: bool) -> None:
    """Say which stores can be used here, what they promise as configured, and what mends the others.

    \b
    quart-counter doctor
    quart-counter doctor redis --url redis://127.0.0.1:6379/0

    Exit status: 0 all of them can be used, 2 one cannot.
    """
    from quart_counter.cli import doctor_command

    sys.exit(doctor_command.doctor(modes, urls, as_json=as_json))


@main.command("export")
@click.argument("file", default="-", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--url", help="the store to read; else QUART_COUNTER_URL")
@click.option("--resume", is_flag=True, help="go on with FILE.part of an export that did not end")
def export_(file: str, url: str | None, resume: bool) -> None:
    """Write every counter to FILE, or to standard output: a line of JSON each, with value and version.

    \b
    quart-counter export counters.ndjson --url redis://127.0.0.1:6379/0
    quart-counter export --url sqlite:counters.db | gzip > counters.ndjson.gz

    Exact when nothing else writes. While others count, each line is right for a moment of its own, and a counter made
    meanwhile may be missing. Idempotency keys and clients' own numbers stay behind.

    Exit status: 0 all of them, 2 the store or the file cannot be used, 3 interrupted.
    """
    from quart_counter.transfer import export_command

    sys.exit(export_command.export(file, url=url, resume=resume))


@main.command("import")
@click.argument("file", required=False, type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--url", help="the store to write; else QUART_COUNTER_URL")
@click.option(
    "--replace", is_flag=True, help="overwrite counters that are there with other values; versions still rise"
)
@click.option("--start", multiple=True, metavar="NAME=VALUE", help="a counter and where it starts; may be given again")
@click.option("--from-redis", metavar="URL", help="read the plain keys that INCR makes, at this address")
@click.option("--match", metavar="PATTERN", help="which keys, as in Redis KEYS, for example tickets:*")
@click.option(
    "--from-sql", metavar="QUERY", help="read what this SELECT finds: name, value, and a version if you have it"
)
@click.option("--from-url", metavar="URL", help="where to ask it: sqlite:FILE or postgresql://…")
@click.option("--cut", default="", metavar="PREFIX", help="drop this from the front of every key")
@click.option("--map", "maps", multiple=True, metavar="OLD=NEW", help="write NEW for OLD in every key, for example :=.")
def import_(file: str | None, url: str | None, replace: bool, **sources: Any) -> None:
    """Make counters in a store from FILE (- for standard input), as export wrote it.

    \b
    quart-counter import counters.ndjson --url postgresql://127.0.0.1/shop
    quart-counter import --start tickets=1000 --url sqlite:counters.db
    quart-counter import --from-redis redis://old/0 --match 'tickets:*' --map :=. --url redis://new/0
    quart-counter import --from-sql 'SELECT name, count FROM hits' --from-url sqlite:shop.db --url sqlite:counters.db

    A counter that is there already is left as it is. Interrupted or run twice, the same command goes on where it was.

    Exit status: 0 all are there, 1 some are there with other values, 2 bad input or no store, 3 interrupted.
    """
    from quart_counter.transfer import import_command

    sys.exit(import_command.import_(import_command.wanted(file, **sources), url=url, replace=replace))


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option("--start", type=int, default=0, show_default=True, help="the value before the first call")
@click.option("--json", "as_json", is_flag=True, help="print a JSON document, or a list of them for several files")
def check(files: tuple[str, ...], start: int, as_json: bool) -> None:
    """Judge recorded histories: is there an order of the calls that explains every answer?

    \b
    quart-counter race redis --workers 2 --history runs
    quart-counter check runs/redis-2.ndjson

    Exit status: 0 valid, 1 invalid, 2 a file cannot be read, 3 unknown.
    """
    from quart_counter.lab import check_command as room

    results = [room.judge(file, start) for file in files]
    for problem in room.problems(results):
        click.echo(f"Error: {problem}", err=True)
    if as_json or any(result.verdict for result in results):
        click.echo(room.as_json(results) if as_json else room.as_text(results))
    sys.exit(room.exit_status(results))
