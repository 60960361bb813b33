"""Diagnoses of literal and of simulated histories: each kind by its own, and by no other."""

import random

import pytest
from histories import CASES, add, failed, lost, read
from hypothesis import given
from hypothesis import strategies as st

from quart_counter.lab.checker import check
from quart_counter.lab.diagnosis import KINDS, diagnose
from quart_counter.lab.diagnosis.chains import chains, fewest, in_order
from quart_counter.lab.diagnosis.words import CAUSES, PHRASES, REMEDIES
from quart_counter.lab.lanes import WIDTH, draw


def told(operations, *, start=0, **allowed):
    """The diagnosis of a history that began at `start`."""
    return diagnose(operations, check(operations, start), start=start, **allowed)


def row(*numbers, at=0, by_process=None):
    """Requests one after the other, answered these numbers."""
    return [add(at + 10 * i, at + 10 * i + 5, n) for i, n in enumerate(numbers)]


def at_once(*numbers, at=0):
    """Requests sent together, which return in this order."""
    return [add(at, at + 1000 + i, n) for i, n in enumerate(numbers)]


LITERAL = [
    (
        "per_client",
        [one._replace(process=i) for i in range(4) for one in row(1, 2, 3, at=100 * i)],
        "each of 4 clients got 1 to 3: looks like a number for each client",
    ),
    ("constant", row(1, 1, 1, 1), "all 4 requests got the number 1: looks like a number that nobody keeps"),
    (
        "someone_elses_answer",
        at_once(2, 2, 4, 4),
        (
            "2 answers repeat a number that another request got, 2 numbers were given to nobody, and the total "
            "is right: looks like someone else's answer"
        ),
    ),
    (
        "reset_under_way",
        row(1, 2, 3, 4, 5, 1, 2, 3),
        "after 5 the numbers begin again at 1: looks like a counter that was reset under way",
    ),
    (
        "reset_under_way",
        row(1, 2, 3, 1, 2, 3, 1, 2),
        "after 3 the numbers begin again at 1, 2 times in all: looks like a counter that was reset under way",
    ),
    (
        "per_process",
        at_once(1, 2, 1, 3, 2, 4, 3, 5, 4, 6, 5),
        "the answers are 2 series side by side, 1 to 6 and 1 to 5: looks like 2 processes, each with its own counter",
    ),
    (
        "stale_cache",
        row(1, 1, 1, 2, 2, 2, 3, 3),
        (
            "5 answers repeat a number that had been answered before, even one after the other, and the numbers "
            "never step back: looks like a stale cache"
        ),
    ),
    (
        "stale_cache",
        [*row(1, 2, 3, 4), read(90, 99, 2)],
        "a read said 2 after 4 had been answered, and the answers themselves are right: looks like a stale cache",
    ),
    (
        "lost_update",
        at_once(1, 1, 2, 3, 3),
        (
            "2 answers repeat a number that another request got, and 2 of 5 increments are missing in the "
            "total: looks like lost updates"
        ),
    ),
    (
        "block_allocation",
        row(1, 5, 2, 6, 3, 7, 4, 9, 8, *range(10, 20)),
        (
            "every number was given once, but 4 of 19 requests had a larger number before one with a smaller was "
            "even sent: looks like block allocation"
        ),
    ),
    (
        "processes_or_blocks",
        at_once(1, 101, 2, 102, 3, 103, 4, 104, 5, 105),
        (
            "every number was given once, but out of 1 to 5 and 101 to 105: looks like processes that each count "
            "alone and have come apart, or like blocks of numbers taken ahead"
        ),
    ),
    (
        "processes_or_blocks",
        row(*range(57, 97), *range(400, 410)),
        (
            "every number was given once, but out of 57 to 96 and 400 to 409: looks like processes that each count "
            "alone and have come apart, or like blocks of numbers taken ahead"
        ),
    ),
    (
        "per_process",
        at_once(57, 400, 58, 401, 59, 402, *range(60, 101), *range(100, 70, -1), *range(403, 440)),
        (
            "the answers are 3 series side by side, which have 57 to 100 and 400 to 439: looks like 3 processes, "
            "each with its own counter"
        ),
    ),
    (
        "sequence_gaps",
        [*row(1, 2), failed(20, 25), *row(4, 5, at=30)],
        (
            "1 number was given to nobody, and requests that failed in their time explain each: looks like a "
            "sequence, which does not take numbers back"
        ),
    ),
    (
        "double_apply",
        row(1, 2, 4, 5, 7),
        "2 numbers were counted and given to nobody (3, 6): looks like requests that are carried out twice",
    ),
    (
        "double_apply",
        [*row(1, 2, 3), read(90, 99, 5)],
        "2 numbers were counted and given to nobody: looks like requests that are carried out twice",
    ),
    (
        "steps",
        row(*range(3, 43, 4)),
        "all numbers are 4 or a multiple of it apart: looks like a counter that goes up by more than one",
    ),
    (
        "not_counted",
        row(*(7919 * n % 1000 for n in range(1, 21))),
        ("of 920 numbers from 28 on 20 were given, here and there: looks like numbers that nobody counts"),
    ),
    (
        "not_counted",
        row(*(10**6 * n + of for n in range(10) for of in range(6))),
        ("of 9,000,006 numbers from 0 on 60 were given, here and there: looks like numbers that nobody counts"),
    ),
    (
        "unclear",
        [read(0, 1, 7), add(2, 3, 1), read(4, 5, 1)],
        (
            "process 0's read that answered 7 saw a value that the counter did not hold at any moment between "
            "its call and its return (2 stale)"
        ),
    ),
]


@pytest.mark.parametrize(
    ("kind", "operations", "sentence"), LITERAL, ids=[f"{i}-{c[0]}" for i, c in enumerate(LITERAL)]
)
def test_literal_history(kind, operations, sentence):
    """Kind and sentence are exactly these; the witness is two or three of the requests, and can be drawn."""
    diagnosis = told(operations)
    assert (diagnosis.kind, diagnosis.sentence) == (kind, sentence)
    assert diagnosis.sentence.endswith(PHRASES[kind])
    assert set(diagnosis.witness) <= set(operations)
    assert len(diagnosis.witness) in ((1, 2, 3) if kind == "unclear" else (2, 3))
    assert max(map(len, draw(diagnosis.witness).splitlines())) <= WIDTH


def test_every_kind_is_told_of_some_history_and_has_its_words():
    """Nothing in the list is dead."""
    assert {kind for kind, _, _ in LITERAL} == set(KINDS) == set(CAUSES) == set(REMEDIES)


@pytest.mark.parametrize("case", [case for case in CASES if case.verdict != "invalid"], ids=lambda case: case.shows)
def test_nothing_wrong_nothing_told(case):
    """A valid history needs no diagnosis."""
    assert told(case.operations, start=case.start) is None


@pytest.mark.parametrize("case", [case for case in CASES if case.verdict == "invalid"], ids=lambda case: case.shows)
def test_something_is_told_of_every_invalid_history(case):
    """Versions, takes, sets and keys included: never an exception, never nothing."""
    assert told(case.operations, start=case.start).sentence


def test_the_witness_of_a_lost_update_is_two_requests_under_way_at_once():
    """The two that overlap most closely, in the order of their calls."""
    one, other = add(20, 60, 2), add(25, 62, 2)
    assert told([add(0, 90, 1), one, other, add(1, 91, 1)]).witness == (one, other)


def test_the_witness_of_lone_processes_is_two_requests_one_after_the_other():
    """Nobody can say that they only overlapped."""
    diagnosis = told(row(1, 1, 2, 3, 2, 4, 3, 4, 5, 5))
    early, late = diagnosis.witness
    assert diagnosis.kind == "per_process"
    assert (early.value, early.ret < late.call) == (late.value, True)


def test_gaps_that_are_allowed_are_not_told():
    """A database sequence is right with holes, and wrong with repeats."""
    assert told(row(1, 2, 4, 5, 7), gaps_allowed=True) is None
    assert told(at_once(1, 1, 2, 3, 3), gaps_allowed=True).kind == "lost_update"


def test_each_client_for_itself():
    """Two clients that count from 1 each are right; a third that loses updates is told, and only its requests."""
    right = [one._replace(process=p) for p in (1, 2) for one in row(1, 2, 3)]
    wrong = [one._replace(process=3) for one in at_once(1, 1, 2, 2, 2)]
    verdict = check([*right, *wrong])
    diagnosis = diagnose([*right, *wrong], verdict, per_client=True)
    assert diagnosis.kind == "lost_update"
    assert {one.process for one in diagnosis.witness} == {3}


def test_all_at_once_and_all_the_same():
    """Sent together and all answered 1, the purest lost update; one of them sent later proves that nobody counts."""
    assert told(at_once(1, 1, 1, 1, 1, 1)).kind == "lost_update"
    assert told([*at_once(1, 1, 1, 1, 1), *row(1, at=5000)]).kind == "constant"
    assert told(at_once(1, 1, 1, 1, 1), start=1).kind == "constant"


def test_threads_in_step_are_no_processes():
    """Four threads that lose updates in step give each number four times, but all of one before the next."""
    assert told(at_once(*(n for n in range(1, 11) for _ in range(4)))).kind == "lost_update"


def test_lost_and_read_again_is_lost_first():
    """Where updates are lost the total is not right, whatever is read afterwards; also from an unknown start."""
    operations = [*row(1), *at_once(4, 4, 4, 4, 4, at=50)]
    assert diagnose(operations, check(operations, None)).kind == "lost_update"


def test_two_processes_in_step_are_processes():
    """Two that take as long for each request hardly drift apart; two threads that lose updates never stay so exact."""
    assert told(at_once(*(n for n in range(1, 21) for _ in range(2)))).kind == "per_process"


def test_a_slow_writer_is_no_process():
    """One that read 2, was held up, and wrote 3 when the others were at 12: they count on from there."""
    assert told(at_once(*range(1, 13), 3, *range(4, 12))).kind == "lost_update"


def test_processes_that_counted_before_the_race_are_processes():
    """They do not begin at 1, and one of them comes to where the other began."""
    numbers = [number for pair in zip(range(57, 97), range(80, 120), strict=True) for number in pair]
    assert told(at_once(*numbers), start=56).kind == "per_process"


@pytest.mark.parametrize("apart", [0, 2, 10, 40, 300, 10**6])
@pytest.mark.parametrize("seed", range(10))
def test_processes_that_have_come_apart_are_never_told_to_be_harmless(apart, seed):
    """However far: processes if their numbers overlap, else maybe; from a known and an unknown start."""
    server = Server(seed, clients=40, requests=120, threads=1)
    operations = lone_from(server, 57, 57 + apart)
    diagnosis = diagnose(operations, check(operations, None))
    assert diagnosis.kind in ("per_process", "processes_or_blocks") or diagnosis.more
    assert "nothing" not in diagnosis.remedy


def test_a_late_second_process_is_a_reset_until_more_is_known():
    """After a volley that it ended, it looks alike; when the first has answered again, it does not."""
    late = at_once(*range(1, 61), *range(1, 41))
    assert (told(late).kind, told(late).more > 0) == ("reset_under_way", True)
    then = at_once(*range(61, 101), *range(41, 101), at=9000)
    assert told([*late, *then, *at_once(*range(101, 151), *range(101, 151), at=20000)]).kind == "per_process"


def test_a_few_repeats_ask_for_more():
    """One in a hundred may be where two processes met."""
    assert told([*row(*range(1, 51)), *row(50, at=600)]).more > 0
    assert told([*row(*range(1, 51)), *row(*range(50, 80), at=600)]).more == 0


def test_a_failed_request_explains_only_a_hole_of_its_time():
    """One sent after all answers took none of the numbers before them."""
    assert told([*row(1, 2, 4, 5), failed(90, 95)]).kind == "double_apply"


# Simulated servers. Each takes requests off a queue in random small steps, a few at a time, and answers as real
# ones do.


class Server:
    """Requests of `clients` callers in a closed loop, answered by `step(request)` at random moments."""

    def __init__(self, seed, clients=12, requests=96, threads=6):
        self.dice = random.Random(seed)
        self.now, self.clients, self.requests, self.threads = 0, clients, requests, threads

    def tick(self):
        self.now += self.dice.randrange(1, 9)
        return self.now

    def history(self, begin, finish):
        """`begin(client)` when a request is taken up, `finish(what it gave)` when it is answered."""
        idle, called, taken, operations = list(range(self.clients)), {}, {}, []
        while len(operations) < self.requests:
            kind = self.dice.randrange(3)
            if kind == 0 and idle and len(operations) + len(called) < self.requests:
                called[idle.pop(self.dice.randrange(len(idle)))] = self.tick()
            elif kind == 1 and called.keys() - taken.keys() and len(taken) < self.threads:
                client = min(called.keys() - taken.keys(), key=called.get)
                self.tick()
                taken[client] = begin(client)
            elif kind == 2 and taken:
                client = self.dice.choice(sorted(taken))
                number = finish(taken.pop(client))
                self.tick()
                operations.append(add(called.pop(client), self.tick(), number)._replace(process=client))
                idle.append(client)
        return operations


def right(server):
    total = iter(range(1, 10**6))
    return server.history(lambda _: next(total), lambda number: number)


def losing(server):
    total = [0]

    def write(before):
        total[0] = before + 1
        return before + 1

    return server.history(lambda _: total[0], write)


def reading_late(server):
    total = [0]

    def count(_):
        total[0] += 1

    return server.history(count, lambda _: total[0])


def lone(server, processes):
    totals = [iter(range(1, 10**6)) for _ in range(processes)]
    return server.history(lambda _: next(server.dice.choice(totals)), lambda number: number)


def lone_from(server, *starts):
    totals = [iter(range(start, 10**9)) for start in starts]
    return server.history(lambda _: next(server.dice.choice(totals)), lambda number: number)


def in_blocks(server, size):
    fresh = iter(range(0, 10**6, size))
    blocks = [iter(()), iter(())]

    def take(_):
        mine = server.dice.randrange(2)
        number = next(blocks[mine], None)
        if number is None:
            begin = next(fresh)
            blocks[mine] = iter(range(begin + 1, begin + 1 + size))
            number = next(blocks[mine])
        return number

    return server.history(take, lambda number: number)


def resetting(server, after):
    total = [0]

    def count(_):
        total[0] = total[0] % after + 1
        return total[0]

    return server.history(count, lambda number: number)


def retrying(server):
    total = [0]

    def count(_):
        total[0] += server.dice.choice((1, 1, 1, 2))
        return total[0]

    return server.history(count, lambda number: number)


def constant(server):
    return server.history(lambda _: 1, lambda number: number)


SERVERS = {
    "lost_update": losing,
    "someone_elses_answer": reading_late,
    "double_apply": retrying,
    "constant": constant,
}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", SERVERS)
def test_simulated_server(kind, seed):
    """Whatever the schedule, the kind that its way of counting makes."""
    assert told(SERVERS[kind](Server(seed))).kind == kind


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("processes", [2, 3, 4, 8])
def test_simulated_processes(processes, seed):
    """As many as there are, by the answers alone."""
    diagnosis = told(lone(Server(seed), processes))
    assert diagnosis.kind == "per_process"
    assert f"looks like {processes} processes, each with its own counter" in diagnosis.sentence


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("size", [5, 10])
def test_simulated_blocks(size, seed):
    """Where one is used up to the beginning of another, a process would have gone on."""
    diagnosis = told(in_blocks(Server(seed), size))
    assert (diagnosis.kind, diagnosis.more) == ("block_allocation", 0)


@pytest.mark.parametrize("seed", range(10))
def test_simulated_blocks_that_are_never_used_up(seed):
    """They may be processes, and it takes a block of requests to know."""
    diagnosis = told(in_blocks(Server(seed), 1000))
    assert diagnosis.kind == "processes_or_blocks"
    assert diagnosis.more > 1000 - 96


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("after", [30, 60])
def test_simulated_reset(after, seed):
    """Once, and three times."""
    assert told(resetting(Server(seed, clients=4), after)).kind == "reset_under_way"


@pytest.mark.parametrize("seed", range(10))
def test_simulated_right(seed):
    """The opposite of all of them."""
    assert told(right(Server(seed))) is None


def test_chains_are_as_few_as_can_be():
    """Two beginnings, two chains, each in the order of time."""
    operations = lone(Server(1), 2)
    assert fewest(operations) == len(chains(operations)) == 2
    assert all(map(in_order, chains(operations)))
    assert sorted(one for chain in chains(operations) for one in chain) == sorted(operations)


spans = st.tuples(st.integers(0, 40), st.integers(0, 20), st.integers(-2, 12), st.integers(-1, 2))
makers = st.sampled_from(
    [
        lambda call, length, value, by: add(call, call + length, value),
        lambda call, length, value, by: add(call, call + length, value, by=by or 3),
        lambda call, length, value, by: read(call, call + length, value),
        lambda call, length, value, by: failed(call, call + length),
        lambda call, length, value, by: lost(call),
    ]
)
histories = st.lists(st.builds(lambda make, span: make(*span), makers, spans), max_size=14)


@given(histories, st.sampled_from([None, 0, 3]), st.booleans(), st.booleans(), st.randoms())
def test_any_history_in_any_order_of_its_lines(operations, start, gaps_allowed, per_client, dice):
    """Never an exception; and the order of the lines says nothing, the times do."""
    options = {"start": start, "gaps_allowed": gaps_allowed, "per_client": per_client}
    verdict = check(operations, start or 0)
    first = diagnose(operations, verdict, **options)
    assert (first is None) <= (verdict.verdict != "invalid" or gaps_allowed)
    assert first is None or set(first.witness) <= set(operations)
    shuffled = dice.sample(operations, len(operations))
    again = diagnose(shuffled, check(shuffled, start or 0), **options)
    assert (first and first.kind) == (again and again.kind)
