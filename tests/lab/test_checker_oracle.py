"""The judge against brute force over all orders: 20,000 random histories here, a million with tests.lab.oracle."""

import pytest
from histories import CASES
from oracle import FLAVOURS, Disagreement, agree, compare

from quart_counter.lab.checker import Verdict

PARTS = 4
SORTED = ("adds", "unknown adds of one size", "unknown ones with versions", "keys")  # all that one size can be


@pytest.mark.parametrize("part", range(PARTS))
def test_agrees_with_brute_force(part):
    """Every class meets both verdicts, nothing so small is `unknown`, and what a sort decides is not searched."""
    tally = compare(seed=2_000 + part, number=20_000 // PARTS)
    for name in FLAVOURS:
        assert tally[name, "valid"] > 50, name
        assert tally[name, "invalid"] > 30, name
        assert tally[name, "unknown"] == 0, name
    for name in SORTED:
        assert tally[name, "searched: sizes"] + tally[name, "searched: versions"] == 0, name


def test_the_comparison_notices_a_wrong_judge():
    """A judge that always says the same is caught by the first history of the other kind."""
    one_of_each = {case.verdict: case for case in CASES}
    for verdict, case in one_of_each.items():
        wrong = "valid" if verdict == "invalid" else "invalid"
        with pytest.raises(Disagreement):
            agree(Verdict(wrong, len(case.operations)), case.operations, case.start)


def test_the_comparison_notices_a_missing_witness():
    """Invalid without anything to show is no verdict."""
    case = next(case for case in CASES if case.verdict == "invalid")
    with pytest.raises(Disagreement, match="without witness"):
        agree(Verdict("invalid", len(case.operations)), case.operations, case.start)
