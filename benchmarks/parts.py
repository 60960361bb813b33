"""Everything that can be measured, in the order of the report: tables, judged rows, and points to plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from benchmarks import board, checker, clients, counters, crowd, profile, start_up, streams
from benchmarks.measures import MEASURES, subjects_of
from benchmarks.needs import missing
from benchmarks.report import Row, Table, goal_row, subjects_table
from benchmarks.rounds import Record

Lines = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Options:
    """How long to measure; `judged` says whether that is long enough to compare with the goals."""

    rounds: int
    seconds: int
    judged: bool
    words: Sequence[str]
    say: Callable[[str], None]


@dataclass
class Result:
    """What was measured. `wrong`: a total was; `bound`: the client was the limit somewhere."""

    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    lines: dict[str, Lines] = field(default_factory=dict)
    records: Mapping[str, Record] = field(default_factory=dict)
    wrong: bool = False
    bound: bool = False


@dataclass(frozen=True)
class Part:
    """The `words` that ask for it, what it needs, and how it is measured."""

    words: Mapping[str, str]
    needs: Callable[[Sequence[str]], Sequence[str]]
    measure: Callable[[Options], Result]


def _board(options: Options) -> Result:
    subjects = subjects_of(options.words)
    records = board.measure(subjects, rounds=options.rounds, seconds=options.seconds, say=options.say)
    rows = [goal_row(one, records, judged=options.judged) for one in MEASURES if one.name in options.words]
    return with_records(Result(rows, [subjects_table(records)]), records)


def with_records(result: Result, records: Mapping[str, Record]) -> Result:
    """Return `result` with what its records say of totals and of the client."""
    result.records = records
    result.wrong = any(record.wrong for record in records.values())
    result.bound = any(record.client_bound for record in records.values())
    return result


def _crowd(contest: crowd.Contest, options: Options) -> Result:
    options.say(f"{contest.name}: {contest.tasks} tasks")
    pair = crowd.measure(contest, rounds=options.rounds, seconds=min(options.seconds, 2))
    return Result([crowd.row(pair, judged=options.judged)], wrong=bool(pair.wrong))


def _checker(options: Options) -> Result:
    sizes = checker.JUDGED if options.judged else (50_000, 200_000)
    options.say(f"checker: {sizes[-1]:,} operations")
    costs = [checker.in_a_process_of_its_own(size) for size in sizes]
    return Result(checker.goal_rows(costs, judged=options.judged), [checker.table(sizes, costs)])


def _clients(options: Options) -> Result:
    records = clients.measure(rounds=min(options.rounds, 3), seconds=min(options.seconds, 2), say=options.say)
    return with_records(Result(tables=[clients.table(records)], lines={"clients": clients.lines(records)}), records)


def _counters(options: Options) -> Result:
    sizes = counters.SIZES if options.judged else counters.QUICK
    times, wrong = counters.measure(sizes, rounds=options.rounds, say=options.say)
    rows = counters.rows(times, wrong, judged=options.judged)
    lines = {mode: sorted(by_size.items()) for mode, by_size in times.items()}
    return Result(rows, [counters.table(times)], {"counters": lines}, wrong=bool(wrong))


def _memory(options: Options) -> Result:
    return Result(tables=[counters.bytes_each(options.say), streams.measure(options.say)])


def _start(options: Options) -> Result:
    return Result(start_up.measure(rounds=options.rounds, judged=options.judged, say=options.say))


def _profile(options: Options) -> Result:
    return Result(tables=profile.measure(rounds=min(options.rounds, 3), seconds=options.seconds, say=options.say))


def _needs(*names: str) -> Callable[[Sequence[str]], Sequence[str]]:
    return lambda words: names


def _needs_of_board(words: Sequence[str]) -> Sequence[str]:
    return [name for subject in subjects_of(words) for name in board.needs_of(subject)]


PARTS: Final[Sequence[Part]] = (
    Part({one.name: one.title for one in MEASURES} | {"peers": "every set-up over HTTP"}, _needs_of_board, _board),
    *(Part({one.name: one.title}, _needs(*one.needs), partial(_crowd, one)) for one in crowd.CONTESTS),
    Part({"checker": "the checker's time and memory"}, _needs(), _checker),
    Part({"clients": "1 to 512 clients: p50 and p99"}, _needs("wrk", "redis-server", "uvloop"), _clients),
    Part(
        {"counters": "1 to 1,000,000 counters: time an increment"}, _needs("redis", "redis-server", "uvloop"), _counters
    ),
    Part({"memory": "bytes a counter, a key, an event stream"}, _needs("redis", "redis-server"), _memory),
    Part({"start": "`--help`, `serve`, `import`"}, _needs(), _start),
    Part({"profile": "where each microsecond of a request goes"}, _needs("wrk", "redis-server", "uvloop"), _profile),
)
WORDS: Final[Mapping[str, str]] = {word: title for part in PARTS for word, title in part.words.items()}


def absent(part: Part, words: Sequence[str]) -> list[str]:
    """Return what this machine lacks for `part`. The board leaves out what lacks something; the others need all."""
    return missing(part.needs(words))


def can_run(part: Part, words: Sequence[str]) -> bool:
    """Return whether anything of `part` can be measured here."""
    return part is PARTS[0] or not absent(part, words)


def left_out(part: Part, words: Sequence[str]) -> Result:
    """Return rows that say why nothing was measured."""
    why = f"left out: {', '.join(absent(part, words))} is not here"
    return Result([Row(word, title, "-", "-", None, note=why) for word, title in part.words.items() if word in words])
