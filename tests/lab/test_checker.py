"""The judge against literal histories: every rule with its opposite, every anomaly with its planted bug."""

import random

import pytest
from histories import CASES, add, lost, put, read
from oracle import FLAVOURS, linearizable, simulate

from quart_counter.lab import checker
from quart_counter.lab.checker import ANOMALIES, check, orders
from quart_counter.lab.history import to_document


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.shows)
def test_literal_history(case):
    """Verdict and counts are exactly these, and an invalid verdict comes with a witness and a sentence."""
    verdict = check(case.operations, case.start)
    assert (verdict.verdict, verdict.anomalies) == (case.verdict, case.counts())
    assert verdict.operations == len(case.operations)
    assert bool(verdict.witness) == bool(verdict.reason) == (case.verdict == "invalid")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.shows)
def test_literal_history_in_any_order_of_its_lines(case):
    """The order of the lines says nothing; the times do."""
    shuffled = random.Random(1).sample(case.operations, len(case.operations))
    verdict = check(shuffled, case.start)
    assert (verdict.verdict, verdict.anomalies) == (case.verdict, case.counts())


def test_every_anomaly_is_planted_somewhere():
    """A count that no test ever sees above 0 is untested."""
    assert {name for case in CASES for name, number in case.anomalies.items() if number} == set(ANOMALIES)


def test_witness_of_a_hole_is_the_operations_either_side():
    """One hole, the two operations around it."""
    below, above = add(0, 9, 1), add(0, 9, 3)
    verdict = check([above, below])
    assert verdict.witness == [below, above]
    assert "number 2" in verdict.reason


def test_witness_of_a_hole_at_the_start_is_what_stands_above_it():
    """There is no operation below the first."""
    assert check([add(0, 9, 2)]).witness == [add(0, 9, 2)]


def test_witness_of_an_inversion_is_the_two_operations():
    """The one whose answer is smaller comes first, as the answers say."""
    early, late = add(0, 1, 2), add(5, 6, 1)
    assert check([early, late]).witness == [late, early]


def test_witness_of_a_refusal_is_the_recorded_operation():
    """Not the half-open stand-in that the rule works with."""
    case = next(case for case in CASES if case.shows == "F: refused before it was full")
    assert set(check(case.operations).witness) <= set(case.operations)


def test_witness_can_be_written_as_ndjson():
    """Every field of every witness has the type that the contract gives it."""
    for case in CASES:
        for operation in check(case.operations, case.start).witness:
            assert type(to_document(operation)["call"]) is int


def test_counters_are_judged_by_name():
    """Linearizability is local: what is wrong in one name is right in two."""
    one, two = add(0, 9, 1), add(0, 9, 1)
    assert check([one, two]).verdict == "invalid"
    assert check([one, two._replace(name="others")]).verdict == "valid"


def test_invalid_beats_unknown_beats_valid(monkeypatch):
    """Of several counters the worst verdict stands, its counter is named, and counts and operations are added up."""
    monkeypatch.setattr(orders, "STATES_AT_LEAST", 0)
    monkeypatch.setattr(orders, "STATES_PER_OPERATION", 0)
    good = [add(0, 1, 1, name="good")]
    doubtful = [lost(0, 2, name="doubtful"), lost(0, 3, name="doubtful"), add(1, 2, 4, name="doubtful")]
    bad = [add(0, 9, 1, name=name) for name in ("bad", "bad", "worse", "worse")]
    unknown = check(good + doubtful)
    assert (unknown.verdict, unknown.unknown, unknown.witness) == ("unknown", {"sizes": 1}, [])
    assert "'doubtful'" in unknown.reason
    invalid = check(good + doubtful + bad)
    assert (invalid.verdict, invalid.operations, invalid.unknown) == ("invalid", 8, {"sizes": 1})
    assert invalid.anomalies == dict.fromkeys(ANOMALIES, 0) | {"duplicate": 2, "lost": 2}
    assert "'bad'" in invalid.reason


def test_unknown_sizes_beyond_the_budget_are_unknown():
    """Even sizes never make an odd hole, but to see it takes more than sums: the judge gives up, and in the open."""
    rng = random.Random(3)
    unknowns = [lost(0, 2 * rng.randrange(10**5, 10**6)) for _ in range(40)]
    verdict = check([*unknowns, add(1, 2, 10**7)])
    assert (verdict.verdict, verdict.unknown) == ("unknown", {"sizes": 1})
    assert "different sizes" in verdict.reason


def test_mutations_without_versions_beyond_the_budget_are_unknown(monkeypatch):
    """Values that repeat, and nothing to sort by."""
    monkeypatch.setattr(orders, "STATES_AT_LEAST", 1)
    monkeypatch.setattr(orders, "STATES_PER_OPERATION", 0)
    verdict = check([add(0, 9, 1), add(0, 9, 0, by=-1), add(0, 9, 1), add(0, 9, 0, by=-1)])
    assert (verdict.verdict, verdict.unknown) == ("unknown", {"versions": 1})


def test_unknown_sizes_are_no_excuse_when_there_is_no_hole(monkeypatch):
    """Unknown adds that nothing needs make nothing unknown; and a plain contradiction stays one."""
    monkeypatch.setattr(checker, "search", pytest.fail)
    unknowns = [lost(0, 2), lost(0, 3)]
    assert check([*unknowns, add(0, 1, 1), add(2, 3, 2)]).verdict == "valid"
    assert check([*unknowns, add(0, 1, 1), add(0, 1, 1)]).verdict == "invalid"


def test_start_version_when_it_is_known():
    """A counter known to be new shows what a history alone cannot: an unrecorded mutation before the first."""
    operations = [add(0, 1, 1, version=2)]
    assert check(operations).verdict == "valid"
    assert check(operations, start_version=1).verdict == "valid"
    assert check(operations, start_version=0).verdict == "invalid"
    down = [put(0, 1, 5, version=2)]
    assert (check(down, start_version=0).verdict, check(down, start_version=1).verdict) == ("invalid", "valid")


def test_an_iterator_will_do():
    """Operations may come from anywhere."""
    assert check(iter([add(0, 1, 1), read(2, 3, 1)])).operations == 2


def test_a_thousand_clean_runs_raise_no_alarm():
    """True counters under overlapping calls, with all that can be lost, retried and refused."""
    rng = random.Random(11)
    for number in range(1_000):
        flavour = FLAVOURS[list(FLAVOURS)[number % len(FLAVOURS)]]
        verdict = check(simulate(rng, flavour, 0, 40))
        assert verdict.verdict == "valid", verdict


def test_a_needle_in_a_large_history_is_found():
    """One number given twice among a hundred thousand."""
    operations = [add(n, n + 40, n + 1, version=n + 1) for n in range(100_000)]
    operations[60_000] = operations[60_000]._replace(value=60_000, version=60_000)
    verdict = check(operations)
    assert (verdict.verdict, verdict.anomalies["duplicate"], verdict.anomalies["skipped"]) == ("invalid", 1, 1)
    assert {operation.process for operation in verdict.witness} == {59_999, 60_000}


def test_the_oracle_agrees_with_the_literal_verdicts():
    """The brute force is a judge too, so it is judged."""
    for case in CASES:
        assert linearizable(case.operations, case.start) == (case.verdict == "valid"), case.shows
