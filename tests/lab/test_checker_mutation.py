"""Each rule of the judge, switched off or bent, must be noticed: by a literal history, or by the brute force.

A mutant is the checker with one piece of its source replaced, imported afresh beside the real one. `RULES` tuples lose
a rule, comparisons become off by one instant, retries are merged wrongly. A mutant that nobody notices is either an
untested rule or an unneeded one.
"""

import importlib
import importlib.util
import random
import sys
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path

import pytest
from histories import CASES
from oracle import FLAVOURS, history, linearizable

from quart_counter import lab

PACKAGE = "quart_counter.lab.checker"

MUTANTS = {
    "A: overlapping answers pass": ("values", "    tile,\n", ""),
    "A: numbers from before the start pass": ("values", "if begin < rising.start:", "if False:"),
    "B: values never held pass": ("values", "    read_what_was_held,\n", ""),
    "F: refusals without reason pass": ("values", "    refuse_truly,\n", ""),
    "F: downward refusals without reason pass": ("values", "refusal.by < 0 and", "False and"),
    "A, B: times are not compared": ("values", "    keep_time,\n", ""),
    "C: holes pass": ("values", "    fill_gaps,\n", ""),
    "C: steps need not fit": ("values", " or next(filter(rising.misfits, rising.pieces), None)", ""),
    "C: different sizes are all one": ("values", "if rising.step is None and rising.pieces:", "if False:"),
    "D: versions along values pass": ("values", "    raise_versions_by_one,\n", ""),
    "D: versions may start below 0": ("values", "!= base or base < 0:", "!= base:"),
    "D: one version for two passes": ("replay", "if missing < 0:", "if False:"),
    "D: what several could fill, nobody fills": ("versions", "    leave_one_way,\n", ""),
    "D: times are not compared": ("versions", "    keep_time,\n", ""),
    "D: answers need not follow": ("versions", "    follow_from_each_other,\n", ""),
    "B, F: what floats is not placed": ("versions", "    stand_somewhere,\n", ""),
    "C: versions filled at any time": ("versions", "    fill_in_time,\n", ""),
    "closed intervals are open": ("order", "map(lt, map(RET", "map(le, map(RET"),
    "a hole is filled an instant too early": ("order", "call <= piece.deadline", "call < piece.deadline"),
    "a hole is filled an instant too late": ("order", "call <= piece.deadline", "call <= piece.deadline + 1"),
    "deadlines look only at the next": ("order", "min, initial=FOREVER", "lambda _, ret: ret, initial=FOREVER"),
    "sums are not compared": ("order", "if needed > offered:", "if piece.units > offered:"),
    "limits are exclusive": ("order", "value > operation.limit", "value >= operation.limit"),
    "floors are exclusive": ("order", "value < operation.limit", "value <= operation.limit"),
    "takes beyond their limit pass": ("__init__", " or beyond_limit(parts)", ""),
    "there is no cap": ("order", "min(MAX_VALUE, MAX_VALUE if", "min(10**99, 10**99 if"),
    "E: two answers pass": ("__init__", "disagreement or", ""),
    "E: a key's version may change": ("parts", " or len(versions) > 1", ""),
    "E: a key begins with its answer": ("parts", "answer._replace(call=first.call,", "answer._replace("),
    "E: not applied attempts count": ("parts", 'if attempt.outcome != "fail" or attempt.refused)', ")"),
    "E: the last answer ends it": ("parts", "min(applied or refused", "max(applied or refused"),
    "E: unknown attempts are worth one each": ("parts", "{_request(attempt): attempt", "{id(attempt): attempt"),
    "F: full a little too early": ("rising", "// self.step + 1)", "// self.step)"),
    "F: a refusal must come at once": ("rising", "call=BEFORE_ALL, ", ""),
    "F: a refusal may come at any time": ("rising", "ret=FOREVER, ", "call=BEFORE_ALL, ret=FOREVER, "),
    "gaps are not cut at reads": ("rising", "gap.high, *inside}", "gap.high}"),
    "equal reads hold each other up": ("rising", "sorted(self.parts.reads, key=CALL)", "self.parts.reads"),
    "D: missing versions are filled by anything": ("replay", "if len(kinds) == 1 else", "if kinds else"),
    "D: the start may have any value": ("replay", "gap == 0 or self.filler is None", "True"),
    "D: unknown takes pass their limit": ("replay", "if passes_limit(", "if False and passes_limit("),
    "D: reads take the latest state": (
        "replay",
        "for i in range(floor, ceiling + 1)",
        "for i in range(ceiling, floor - 1, -1)",
    ),
    "D: reads may go back": ("replay", "heappush(returned, (RET(operation), state))", "pass"),
    "D: reads see the future": (
        "replay",
        "ceiling = last_states[",
        "ceiling = len(self.states) - 1 + 0 * last_states[",
    ),
    "search: nothing is unknown": ("orders", "[*self._guess(state, deadline), *", "[*"),
    "search: unknown comes before it is called": ("orders", "or kind[used].call > deadline", ""),
    "search: no order in time": ("orders", "if self.answered[place].call > deadline:", "if False:"),
    "search: versions are not looked at": ("orders", "state.base not in (None, base)", "False"),
    "search: versions may start below 0": ("orders", "base < 0 or ", ""),
    "search: refusals need no reason": ("orders", "if refuses(state.value, operation) else None", ""),
    "search: limits do not hold unknown takes": ("orders", "if not passes_limit(unknown, value):", "if True:"),
}


class Swap(MetaPathFinder, Loader):
    """Import the checker's modules afresh, one of them with a piece of its source replaced."""

    def __init__(self, module: str, old: str, new: str) -> None:
        self.replaced = (PACKAGE if module == "__init__" else f"{PACKAGE}.{module}", old, new)

    def find_spec(self, name, path=None, target=None):
        if name != PACKAGE and not name.startswith(PACKAGE + "."):
            return None
        return importlib.util.spec_from_loader(name, self, is_package=name == PACKAGE)

    def exec_module(self, module):
        name, old, new = self.replaced
        folder = Path(lab.__file__).parent / "checker"
        file = folder / ("__init__.py" if module.__name__ == PACKAGE else module.__name__.rpartition(".")[2] + ".py")
        source = file.read_text()
        if module.__name__ == name:
            assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {file.name}"
            source = source.replace(old, new).replace("import lt\n", "import le, lt\n")
        exec(compile(source, file, "exec"), module.__dict__)


def mutant(module, old, new):
    """The `check` of a checker with one thing changed; the real one stays as it is."""
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if f"{name}.".startswith(PACKAGE + ".")}
    finder = Swap(module, old, new)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(PACKAGE).check
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if f"{name}.".startswith(PACKAGE + ".")]:
            del sys.modules[name]
        sys.modules.update(real)
        lab.checker = real[PACKAGE]


@cache
def judged_by_brute_force():
    """Random small histories and the truth about them."""
    rng = random.Random(7)
    histories = [history(rng, flavour) for _ in range(400) for flavour in FLAVOURS.values()]
    return [(operations, start, linearizable(operations, start)) for operations, start in histories]


def noticed(check):
    """What noticed the mutant: a literal history, the brute force, or nothing."""
    for case in CASES:
        if verdict_of(check, case.operations, case.start) != (case.verdict, case.counts()):
            return case.shows
    for operations, start, truth in judged_by_brute_force():
        if verdict_of(check, operations, start)[0] != ("valid" if truth else "invalid"):
            return "the brute force"
    return None


def verdict_of(check, operations, start):
    try:
        verdict = check(operations, start)
    except Exception as error:  # a rule removed may leave the next one without footing
        return repr(error), None
    return verdict.verdict, verdict.anomalies


def test_the_checker_itself_is_not_noticed():
    """An import with nothing replaced behaves like the real one, or the tests below prove nothing."""
    assert noticed(mutant("values", "    tile,\n", "    tile,\n")) is None


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_noticed(name):
    """Something must contradict a judge with this fault."""
    assert noticed(mutant(*MUTANTS[name])) is not None
