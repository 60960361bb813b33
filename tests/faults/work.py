"""What the clients of a run want, endless and seeded."""

import random
from collections.abc import Iterator
from itertools import count, islice

from faults.crowd import Wanted

SEATS = 100


def mixed(
    seed: int, *, counters: int = 8, keyed: float = 1.0, reads: float = 0.1, any_size: bool = False
) -> Iterator[Wanted]:
    """Everything a counter can do. Even counters only rise (the values force the order); odd ones go up and down, are
    set and have bounds (the versions do); on `seats` 100 can be taken. A share `keyed` of the changes carries a key.

    A change without a key may stay unknown. Unless `any_size`, only adds of 1 come without, for unknown changes of
    different sizes are more than a judge can decide (checker.md, C).
    """
    rng = random.Random(seed)
    for number in count():
        key = f"{seed}-{number}"
        if rng.random() < reads:
            yield Wanted("read", f"c{rng.randrange(counters)}")
        elif number % (4 if number < 1000 else 50) == 0:
            yield Wanted("take", "seats", 1, SEATS, key)
        else:
            wanted = _change(rng, rng.randrange(counters), key)
            needs_key = not any_size and (wanted.op, wanted.by) != ("add", 1)
            yield wanted if needs_key or rng.random() < keyed else wanted._replace(key=None)


def _change(rng: random.Random, place: int, key: str) -> Wanted:
    name = f"c{place}"
    if place % 2 == 0:
        return Wanted("add", name, rng.choice((1, 1, 1, 2, 5)), None, key)
    match rng.randrange(10):
        case 0:
            return Wanted("set", name, key=key, value=rng.randrange(100))
        case 1 | 2:
            return Wanted("take", name, 1, 50, key)
        case 3:
            return Wanted("take", name, -1, 0, key)
        case _:
            return Wanted("add", name, rng.choice((-2, -1, 1, 1, 3)), None, key)


def first(number: int, work: Iterator[Wanted]) -> Iterator[Wanted]:
    """The first so many."""
    return islice(work, number)
