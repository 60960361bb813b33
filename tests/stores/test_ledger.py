"""What stores that run the model share: posting, counting keys, and texts that come back as they went."""

from hypothesis import given
from hypothesis import strategies as st

from quart_counter.model import MAX_VALUE, Applied, Change, NotApplied, Reading, Record, Refused, fingerprint
from quart_counter.stores.base import Limits
from quart_counter.stores.ledger import (
    Entry,
    LiveKeys,
    Page,
    expiry_ms,
    generation_at,
    pages_from_text,
    pages_to_text,
    post,
    record_from_text,
    record_to_text,
    wanted,
)
from quart_counter.stores.sql import Loaded, decide, literal, values
from stores.contract import BATCHES, Model, any_change

NUMBER = st.integers(-MAX_VALUE, MAX_VALUE)
VERSION = st.integers(0, MAX_VALUE)
RECORDS = st.builds(
    Record,
    any_change().map(fingerprint),
    st.builds(Applied, NUMBER, VERSION, st.just(False))
    | st.builds(Refused, st.sampled_from(["bound", "cap", "version"]), NUMBER, VERSION, st.just(False)),
)
PAGES = st.builds(
    Page,
    st.builds(Reading, NUMBER, VERSION),
    st.integers(0, 1_000_000),
    st.dictionaries(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1), RECORDS),
)


def test_wanted_is_what_to_lock_in_order():
    changes = [Change("b", key="2"), Change("a"), Change("b", key="1"), Change("b"), Change("b", key="2")]
    assert list(wanted(changes).items()) == [("a", []), ("b", ["1", "2"])]


def test_repeats_inside_a_flush_see_each_other():
    outcomes, entries = post([Change("n", key="k"), Change("n"), Change("n", key="k")], {})
    assert outcomes == [Applied(1, 1), Applied(2, 2), Applied(1, 1, replayed=True)]
    assert entries == {"n": Entry(Reading(2, 2), True, {"k": Record("1,,,,", Applied(1, 1))})}


def test_refusals_and_replays_have_nothing_to_write():
    page = Page(Reading(5, 9), 1, {"k": Record("1,,,,", Applied(3, 3))})
    outcomes, entries = post([Change("n", key="k"), Change("n", limit=5), Change("m", limit=0)], {"n": page})
    assert outcomes == [Applied(3, 3, replayed=True), Refused("bound", 5, 9), Refused("bound", 0, 0)]
    assert entries == {}


def test_a_refusal_under_a_key_is_written_although_the_counter_did_not_change():
    _, entries = post([Change("n", limit=0, key="k")], {})
    assert entries == {"n": Entry(Reading(0, 0), False, {"k": Record("1,,0,,", Refused("bound", 0, 0))})}


def test_the_quota_counts_what_was_loaded_and_what_is_new():
    outcomes, entries = post([Change("n", key=key) for key in "abc"], {"n": Page(Reading(7, 7), 1)}, max_keys=3)
    assert outcomes[:2] == [Applied(8, 8), Applied(9, 9)]
    assert isinstance(outcomes[2], NotApplied)
    assert list(entries["n"].records) == ["a", "b"]


@given(BATCHES, st.sampled_from([2, 1_000_000]))
def test_flush_after_flush_it_is_the_model(batches, max_keys):
    model, pages = Model(max_keys), {}
    for batch in batches:
        outcomes, entries = post(batch, pages, max_keys)
        assert outcomes == model.apply(batch)
        for name, entry in entries.items():
            records = {**pages.get(name, Page()).records, **entry.records}
            pages[name] = Page(entry.reading, len(records), records)
        assert all(model.read(name) == page.reading for name, page in pages.items())


@given(RECORDS)
def test_a_record_comes_back_from_its_text(record):
    assert record_from_text(record_to_text(record)) == record
    assert len(record_to_text(record)) <= 160


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), PAGES), st.lists(any_change(), max_size=10))
def test_what_a_flush_saw_gives_its_answers_once_more(pages, changes):
    again = pages_from_text(pages_to_text(pages))
    assert again == pages
    assert post(changes, again) == post(changes, pages)


def test_live_keys_are_forgotten_by_generations():
    live = LiveKeys().at(7).plus(3)
    assert live == LiveKeys(7, 3, 0)
    assert live.at(8).plus(2) == LiveKeys(8, 2, 3)
    assert live.at(8).plus(2).live == 5
    assert live.at(8).at(9) == LiveKeys(9, 0, 0)
    assert live.at(9) == LiveKeys(9, 0, 0)
    assert live.at(3) == LiveKeys(3, 0, 0), "a clock set back, or another key life: start over"


@given(st.integers(0, 2**42), st.floats(0.01, 10**7))
def test_a_key_lives_for_one_to_two_lives(now_ms, life_s):
    rest_ms = expiry_ms(generation_at(now_ms, life_s), life_s) - now_ms
    assert 1000 * life_s - 1 <= rest_ms <= 2000 * life_s + 1


def test_decide_counts_new_keys_and_gives_them_their_end():
    limits = Limits(key_life_s=10.0)
    loaded = Loaded(25_000, [("n", 4, 4, 1, 2, 7)], [])
    decision = decide([Change("n", key="k"), Change("n")], loaded, limits)
    assert decision.outcomes == [Applied(5, 5), Applied(6, 6)]
    assert decision.rows.counters == [("n", 6, 6, 2, 1, 2)]  # generation 2: the 2 newer ones are older now
    assert decision.rows.keys == [("n", "k", "1,,,, applied 5 5", 40_000)]
    assert decision.saw == {"n": Page(Reading(4, 4), 2)}


def test_a_literal_is_only_a_literal():
    assert literal("it's; --") == "'it''s; --'"
    assert literal(-5) == "-5"
    assert values([("a", 1), ("b'", -2)]) == "('a', 1), ('b''', -2)"
