"""Keys that tell their age: which do, what is refused, and that whatever is let pass still finds its record."""

import time
import uuid
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quart_counter import errors
from quart_counter.counters import Counters
from quart_counter.keys import CLOCKS_APART_S, check_age, kept_s, made_s, new_key, share_of
from quart_counter.model import Applied, Change
from quart_counter.stores import memory
from quart_counter.stores.base import Limits
from quart_counter.stores.memory import MemoryStore

EXAMPLE = "017F22E2-79B0-7CC3-98C4-DC0C0C07398F"  # of RFC 9562, A.6: Tuesday, February 22, 2022 2:22:22.00 PM GMT-05:00
EXAMPLE_S = 1645557742.0


def key_of(made: float) -> str:
    """A UUIDv7 of that second."""
    milliseconds = f"{round(made * 1000):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-000000000000"


def test_new_keys_are_version_7_uuids_of_now():
    keys = [new_key() for _ in range(1000)]
    assert {(uuid.UUID(key).version, uuid.UUID(key).variant) for key in keys} == {(7, uuid.RFC_4122)}
    assert len(set(keys)) == 1000
    assert all(abs((made_s(key) or 0) - time.time()) < 10 for key in keys)


@pytest.mark.parametrize(
    "key", [EXAMPLE, EXAMPLE.lower(), share_of(EXAMPLE, 0), share_of(EXAMPLE, 4095), f"{EXAMPLE}."]
)
def test_a_uuidv7_tells_its_age_and_so_does_a_share_of_it(key):
    assert made_s(key) == EXAMPLE_S


@pytest.mark.parametrize(
    "key",
    [
        "order-7",
        f"order-{EXAMPLE}",
        EXAMPLE.replace("-", ""),
        f"{EXAMPLE}0",
        f"{EXAMPLE}-0",
        f"{{{EXAMPLE}}}",
        EXAMPLE.replace("-7", "-4"),
        EXAMPLE.replace("-9", "-C"),
        "14c8a185-7e7e-4a6e-aab9-c9cb048efcd9",  # version 4
        "ed509494-e5dd-11f1-a1d7-02fc00000001",  # version 1
        "019a0000",
    ],
)
def test_other_keys_tell_nothing_and_are_taken_at_any_age(key):
    assert made_s(key) is None
    check_age(key, life_s=1.0, now_s=2e9)


@pytest.mark.parametrize("age_s", [0.0, 3600.0, -CLOCKS_APART_S])
def test_a_key_is_good_for_its_whole_life(age_s):
    check_age(EXAMPLE, 3600.0, EXAMPLE_S + age_s)


@pytest.mark.parametrize(("age_s", "reason"), [(3600.1, "expired"), (1e9, "expired"), (-CLOCKS_APART_S - 1, "ahead")])
def test_beyond_it_is_refused_and_the_sentence_says_what_to_do(age_s, reason):
    with pytest.raises(errors.InvalidKey, match=r"clock.*Nothing was changed$") as refused:
        check_age(EXAMPLE, 3600.0, EXAMPLE_S + age_s)
    assert refused.value.reason == reason
    assert isinstance(refused.value, ValueError)


# ---------------------------------------------------------- no request that is let pass counts a second time


class Sending(NamedTuple):
    """One request with the key: when it is checked, how much later it is carried out, and how wrong its host's clock
    is."""

    at: float
    waits: float
    host_off: float


LIFE_S, DEADLINE_S = 100.0, 5.0
APART = st.floats(0, CLOCKS_APART_S)  # of the hosts' clocks, which are all within so much of each other
SENDINGS = st.builds(Sending, st.floats(0, 400), st.floats(0, 2 * DEADLINE_S), APART)
TWO = st.tuples(st.floats(-200, 2 * CLOCKS_APART_S), SENDINGS, SENDINGS)
EPOCH = 1.7e9


async def times_counted(two: tuple[float, Sending, Sending], kept: float, *, look: bool = True) -> int:
    """Send one key twice through real `Counters` to a real store whose records live for `kept`; how often it counted.

    The key is made at 0 by a clock that is off by some seconds from that of the slowest host.
    """
    off, *sendings = two
    key, moment = key_of(EPOCH + off), 0.0
    store = MemoryStore(limits=Limits(DEADLINE_S / 5, DEADLINE_S, kept))
    passed = []
    for sending in sendings:
        host_s = EPOCH + sending.at + sending.host_off
        counters = Counters(
            store, deadline_s=DEADLINE_S, combine=False, key_life_s=LIFE_S, now_s=lambda now=host_s: now
        )
        try:
            passed.append((sending, counters.check(Change("t", key=key)) if look else Change("t", key=key)))
        except errors.InvalidKey:
            continue
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: moment))
        counted = 0
        for sending, change in sorted(passed, key=lambda one: one[0].at + one[0].waits):
            moment = sending.at + sending.waits
            (outcome,) = await store.apply([change])
            counted += isinstance(outcome, Applied) and not outcome.replayed
    return counted


def run(two: tuple[float, Sending, Sending], kept: float, *, look: bool = True) -> int:
    """The same for hypothesis: nothing in it waits for anything."""
    steps = times_counted(two, kept, look=look)
    with pytest.raises(StopIteration) as end:
        steps.send(None)
    return end.value.value


WORST = (2 * CLOCKS_APART_S, Sending(0, 0, CLOCKS_APART_S), Sending(LIFE_S + 119.9, 2 * DEADLINE_S, 0))
LATER = (0.0, Sending(0, 0, 0), Sending(400, 0, 0))
KEPT = kept_s(LIFE_S, DEADLINE_S)


@settings(max_examples=300)
@given(TWO)
@example(WORST)
@example(LATER)
def test_whatever_is_let_pass_finds_its_record(two):
    """Clocks apart, both deadlines waited through, at the last moment: it counts once, or not at all."""
    assert run(two, KEPT) <= 1


@pytest.mark.parametrize(
    ("two", "kept", "look"),
    [
        (LATER, KEPT, False),
        (WORST, LIFE_S, True),
        (WORST, LIFE_S + 2 * DEADLINE_S, True),
        (WORST, LIFE_S + 2 * CLOCKS_APART_S, True),
        (WORST, KEPT - CLOCKS_APART_S, True),
    ],
    ids=["nobody looks at the age", "no margin", "none for clocks", "none for waiting", "none for our own hosts"],
)
def test_without_the_look_or_any_part_of_the_margin_a_key_counts_twice(two, kept, look):
    """The opposite, so the test above would see it."""
    assert run(two, kept, look=look) == 2
