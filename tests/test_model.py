"""What counting means: the rules as literal cases, folding as laws."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_counter.errors import InvalidChange
from quart_counter.model import (
    MAX_BY,
    MAX_VALUE,
    MAX_VERSION,
    Applied,
    Change,
    NotApplied,
    Reading,
    Record,
    Refused,
    State,
    apply,
    check_change,
    check_name,
    fingerprint,
    fold,
    unfold,
)

AT_5 = State(value=5, version=9)
AT_TOP = State(value=MAX_VALUE, version=9)
AT_BOTTOM = State(value=-MAX_VALUE, version=9)

RULES = {
    "an untouched counter starts at 0": (State(), Change("t"), Applied(1, 1)),
    "add": (AT_5, Change("t", by=3), Applied(8, 10)),
    "count down": (AT_5, Change("t", by=-7), Applied(-2, 10)),
    "set": (AT_5, Change("t", value=100), Applied(100, 10)),
    "set ignores by": (AT_5, Change("t", by=7, value=100), Applied(100, 10)),
    "reset, and the version goes on": (AT_5, Change("t", value=0), Applied(0, 10)),
    "a set to the same value is a mutation": (AT_5, Change("t", value=5), Applied(5, 10)),
    "take below the limit": (AT_5, Change("t", by=1, limit=7), Applied(6, 10)),
    "take up to the limit, which belongs to it": (AT_5, Change("t", by=2, limit=7), Applied(7, 10)),
    "take past the limit": (AT_5, Change("t", by=3, limit=7), Refused("bound", 5, 9)),
    "a limit below the value": (AT_5, Change("t", by=1, limit=2), Refused("bound", 5, 9)),
    "take down to the floor, which belongs to it": (AT_5, Change("t", by=-5, floor=0), Applied(0, 10)),
    "take past the floor": (AT_5, Change("t", by=-6, floor=0), Refused("bound", 5, 9)),
    "a limit of 0 is a limit": (State(-1, 1), Change("t", by=2, limit=0), Refused("bound", -1, 1)),
    "up to the cap": (State(MAX_VALUE - 1, 9), Change("t"), Applied(MAX_VALUE, 10)),
    "past the cap": (AT_TOP, Change("t"), Refused("cap", MAX_VALUE, 9)),
    "past the cap by much": (AT_5, Change("t", by=MAX_VALUE), Refused("cap", 5, 9)),
    "down to the cap": (State(1 - MAX_VALUE, 9), Change("t", by=-1), Applied(-MAX_VALUE, 10)),
    "down past the cap": (AT_BOTTOM, Change("t", by=-1), Refused("cap", -MAX_VALUE, 9)),
    "back from the cap": (AT_TOP, Change("t", by=-1), Applied(MAX_VALUE - 1, 10)),
    "set to the cap": (AT_5, Change("t", value=MAX_VALUE), Applied(MAX_VALUE, 10)),
    "set past the cap": (AT_5, Change("t", value=MAX_VALUE + 1), Refused("cap", 5, 9)),
    "the bound speaks before the cap": (AT_TOP, Change("t", limit=MAX_VALUE), Refused("bound", MAX_VALUE, 9)),
    "set if version": (AT_5, Change("t", value=1, if_version=9), Applied(1, 10)),
    "set if an older version": (AT_5, Change("t", value=1, if_version=8), Refused("version", 5, 9)),
    "set if a newer version": (AT_5, Change("t", value=1, if_version=10), Refused("version", 5, 9)),
    "set if never touched": (State(), Change("t", value=1, if_version=0), Applied(1, 1)),
    "restore": (State(), Change("t", value=70, version=900), Applied(70, 900)),
    "restore, and the version never goes back": (AT_5, Change("t", value=70, version=4), Applied(70, 10)),
    "restore to the version it has": (AT_5, Change("t", value=70, version=9), Applied(70, 10)),
    "restore to a later version": (AT_5, Change("t", value=70, version=11), Applied(70, 11)),
    "restore if never touched": (AT_5, Change("t", value=70, version=11, if_version=0), Refused("version", 5, 9)),
    "the version speaks before the bound": (
        AT_5,
        Change("t", by=9, limit=7, if_version=8),
        Refused("version", 5, 9),
    ),
}


@pytest.mark.parametrize(("state", "change", "outcome"), RULES.values(), ids=RULES)
def test_rule(state, change, outcome):
    after, answered = apply(state, change)
    assert answered == outcome
    assert type(answered) is type(outcome)
    if isinstance(outcome, Applied):
        assert (after.value, after.version) == (outcome.value, outcome.version)
    else:
        assert after == state, "a refusal has no effect"


@pytest.mark.parametrize(("state", "change", "outcome"), RULES.values(), ids=RULES)
def test_a_key_changes_no_answer_and_keeps_it(state, change, outcome):
    keyed = change._replace(key="k")
    after, first = apply(state, keyed)
    assert first == outcome
    assert (after.record, after.keys) == (Record(fingerprint(keyed), outcome), state.keys + 1)
    moved_on = after._replace(value=77, version=77)
    assert apply(moved_on, keyed) == (moved_on, outcome._replace(replayed=True))


def test_a_key_used_for_another_request_is_refused_and_the_record_stays():
    held, _ = apply(AT_5, Change("t", by=1, key="k"))
    moved_on = held._replace(value=50, version=60)
    after, outcome = apply(moved_on, Change("t", by=2, key="k"))
    assert outcome == Refused("key_reused", 50, 60)
    assert after == moved_on
    assert apply(after, Change("t", by=1, key="k"))[1] == Applied(6, 10, replayed=True)


def test_a_full_quota_answers_not_applied_before_any_effect():
    full = State(5, 9, keys=3)
    after, outcome = apply(full, Change("t", key="new"), max_keys=3)
    assert isinstance(outcome, NotApplied)
    assert "t already holds 3 live idempotency keys" in outcome.because
    assert after == full


def test_a_full_quota_still_replays_and_still_counts_without_a_key():
    full = State(5, 9, record=Record(fingerprint(Change("t")), Applied(5, 9)), keys=3)
    assert apply(full, Change("t", key="old"), max_keys=3)[1] == Applied(5, 9, replayed=True)
    assert apply(full, Change("t"), max_keys=3)[1] == Applied(6, 10)


def test_the_last_place_of_the_quota_is_a_place():
    after, outcome = apply(State(5, 9, keys=2), Change("t", key="new"), max_keys=3)
    assert outcome == Applied(6, 10)
    assert after.keys == 3


def test_apply_is_pure():
    before = State(5, 9)
    assert apply(before, Change("t", key="k")) == apply(before, Change("t", key="k"))
    assert before == State(5, 9)


PLAIN = (st.integers(-5, 5).filter(bool) | st.sampled_from([MAX_BY, -MAX_BY])).map(lambda by: Change("t", by))
SPECIAL = st.builds(
    Change,
    st.just("t"),
    by=st.integers(1, 5),
    value=st.none() | st.integers(-5, 5),
    key=st.none() | st.sampled_from("kl"),
    limit=st.none() | st.integers(-5, 5),
    floor=st.none() | st.integers(-5, 5),
    if_version=st.none() | st.integers(0, 5),
)
CHANGES = st.lists(PLAIN | SPECIAL, max_size=12)


def is_plain(change):
    return set(change[2:]) == {None}


@given(CHANGES)
def test_folding_loses_nothing_and_keeps_the_order(changes):
    steps = list(fold(changes))
    assert list(itertools.chain.from_iterable(step.changes for step in steps)) == changes
    assert all(step.by == sum(change.by for change in step.changes) for step in steps)


@given(CHANGES)
def test_a_folded_step_is_plain_and_of_one_sign(changes):
    for step in fold(changes):
        if len(step.changes) > 1:
            assert all(is_plain(change) for change in step.changes)
            assert len({change.by > 0 for change in step.changes}) == 1


@given(CHANGES)
def test_folding_goes_as_far_as_it_can(changes):
    for left, right in itertools.pairwise(fold(changes)):
        last, first = left.changes[-1], right.changes[0]
        assert not (is_plain(last) and is_plain(first) and (last.by > 0) == (first.by > 0))


@given(
    st.integers(-20, 20) | st.sampled_from([MAX_VALUE - 7, 7 - MAX_VALUE]),
    st.integers(0, 10),
    st.lists(PLAIN, max_size=12),
)
def test_one_step_answers_what_one_by_one_answers_unless_it_would_pass_the_cap(value, version, changes):
    state = State(value, version)
    for step in fold(changes):
        one_by_one = []
        after = state
        for change in step.changes:
            after, outcome = apply(after, change)
            one_by_one.append(outcome)
        at_once = Reading(state.value + step.by, state.version + len(step.changes))
        if abs(at_once.value) <= MAX_VALUE:
            assert unfold(step, at_once) == one_by_one
            assert (after.value, after.version) == at_once
        else:
            assert any(isinstance(outcome, Refused) for outcome in one_by_one)
        state = after


def test_fold_and_unfold_by_hand():
    (step,) = fold([Change("t", by=2), Change("t", by=3), Change("t", by=1)])
    assert step.by == 6
    assert unfold(step, Reading(16, 103)) == [Applied(12, 101), Applied(15, 102), Applied(16, 103)]


@pytest.mark.parametrize(
    ("changes", "lengths"),
    [
        ([], []),
        ([Change("t")], [1]),
        ([Change("t"), Change("t")], [2]),
        ([Change("t", 1), Change("t", -1), Change("t", -1)], [1, 2]),
        ([Change("t"), Change("t", key="k"), Change("t")], [1, 1, 1]),
        ([Change("t", value=0), Change("t", value=0)], [1, 1]),
        ([Change("t", limit=5), Change("t", limit=5)], [1, 1]),
        ([Change("t", -1, floor=0), Change("t", -1)], [1, 1]),
        ([Change("t"), Change("t"), Change("t", if_version=0), Change("t"), Change("t")], [2, 1, 2]),
    ],
)
def test_what_folds(changes, lengths):
    assert [len(step.changes) for step in fold(changes)] == lengths


FIELDS = st.tuples(*[st.none() | st.integers(-12, 12)] * 5)


@given(FIELDS, FIELDS)
def test_a_fingerprint_stands_for_one_request(these, those):
    def of(fields):
        by, value, limit, floor, if_version = fields
        return fingerprint(Change("t", by, value, "k", limit, floor, if_version))

    assert (of(these) == of(those)) == (these == those)


def test_a_fingerprint_leaves_out_the_name_and_the_key():
    assert fingerprint(Change("t", 3, key="k")) == fingerprint(Change("u", 3, key="l"))


def test_a_fingerprint_is_the_one_that_stores_keep_already():
    """Records outlive an upgrade: were their words others, repeats of a key would be refused as other requests."""
    assert fingerprint(Change("t", -3, key="k", floor=0)) == "-3,,,0,"
    assert fingerprint(Change("t", value=7, key="k", if_version=2)) == "1,7,,,2"


def test_a_fingerprint_is_one_word():
    assert " " not in fingerprint(Change("t", -MAX_BY, -MAX_VALUE, "k", MAX_VALUE, -MAX_VALUE, MAX_VALUE))


GOOD = [
    Change("t"),
    Change("a" * 64),
    Change("9.a_b~c-d"),
    Change("t", by=MAX_BY),
    Change("t", by=-MAX_BY),
    Change("t", value=MAX_VALUE),
    Change("t", value=-MAX_VALUE),
    Change("t", value=0, if_version=0),
    Change("t", limit=0),
    Change("t", by=-1, floor=0),
    Change("t", key="!"),
    Change("t", key="~" * 255),
    Change("t", value=-7, version=MAX_VERSION, if_version=0),
]


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_a_possible_change_is_handed_back(change):
    assert check_change(change) is change


BAD = [
    (Change(""), "is no counter name"),
    (Change("a" * 65), "is no counter name"),
    (Change(".a"), "start with a letter or digit"),
    (Change("a b"), "is no counter name"),
    (Change("a\n"), "is no counter name"),
    (Change("a/b"), "is no counter name"),
    (Change("zähler"), "is no counter name"),
    (Change("٣"), "is no counter name"),
    (Change("\ufffd"), "is no counter name"),
    (Change(None), "is no counter name"),
    (Change(b"t"), "is no counter name"),
    (Change("t", by=0), "by is 0"),
    (Change("t", by=True), "by must be a whole number, not True"),
    (Change("t", by=1.0), "by must be a whole number, not 1.0"),
    (Change("t", by=float("nan")), "by must be a whole number"),
    (Change("t", by="1"), "by must be a whole number, not '1'"),
    (Change("t", by=None), "by must be a whole number"),
    (Change("t", by=MAX_BY + 1), "by must lie within ±2147483648"),
    (Change("t", by=-MAX_BY - 1), "by must lie within"),
    (Change("t", by=10**5000), "by must lie within"),
    (Change("t", value=MAX_VALUE + 1), "value must lie within ±9007199254740991"),
    (Change("t", value=-MAX_VALUE - 1), "value must lie within"),
    (Change("t", value=False), "value must be a whole number"),
    (Change("t", value=0.0), "value must be a whole number"),
    (Change("t", limit=MAX_VALUE + 1), "limit must lie within"),
    (Change("t", limit=True), "limit must be a whole number"),
    (Change("t", by=-1, floor="0"), "floor must be a whole number"),
    (Change("t", if_version="1"), "if_version must be a whole number"),
    (Change("t", if_version=True), "if_version must be a whole number"),
    (Change("t", key=""), "key: use 1 to 255 visible ASCII"),
    (Change("t", key="k" * 256), "key: use 1 to 255 visible ASCII"),
    (Change("t", key="a b"), "key: use 1 to 255 visible ASCII"),
    (Change("t", key="a\n"), "key: use 1 to 255 visible ASCII"),
    (Change("t", key="schlüssel"), "key: use 1 to 255 visible ASCII"),
    (Change("t", key=7), "key: use 1 to 255 visible ASCII"),
    (Change("t", by=-1, limit=5), "limit bounds a count upwards"),
    (Change("t", by=1, floor=5), "floor bounds a count downwards"),
    (Change("t", version=5), "version restores a counter"),
    (Change("t", value=5, version=5, key="k"), "without a key"),
    (Change("t", value=5, version=0), "version must be 1 or more"),
    (Change("t", value=5, version=True), "version must be a whole number"),
    (Change("t", value=5, version=MAX_VERSION + 1), "version must lie within"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[f"{i}-{bad[1]}" for i, bad in enumerate(BAD)])
def test_an_impossible_change_is_named(change, sentence):
    with pytest.raises(InvalidChange) as raised:
        check_change(change)
    assert sentence in str(raised.value)
    assert isinstance(raised.value, ValueError)


def test_a_long_wrong_name_is_not_repeated_in_full():
    with pytest.raises(InvalidChange) as raised:
        check_name("x" * 100_000)
    assert len(str(raised.value)) < 300
