"""What a page says, and what it keeps to itself."""

import re

import pytest
from reported import Foreign, add, apart, right, row

from quart_counter.lab.checker import ANOMALIES
from quart_counter.lab.foreign import command as foreign
from quart_counter.lab.html import setting, words

NONE = dict.fromkeys(ANOMALIES, 0)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (apart().document(), "6 answers repeat a number already handed out and 10 increments are lost."),
        (right().document(), "12 requests, up to 12 at the same moment, and each got a number of its own."),
        (
            {"verdict": "SCOPED", "distinct": 1},
            "Right only as long as nobody is meant to share the number: every caller counts for itself.",
        ),
        (
            {"verdict": "NO_RACE_SEEN", "ok": 500, "max_in_flight": 100},
            "0 wrong answers in 500, with up to 100 requests at the same moment. That is no proof.",
        ),
        ({"verdict": "RACY", **NONE, "duplicate": 1}, "1 answer repeats a number already handed out."),
        ({"verdict": "RACY", **NONE}, "No order of the calls explains the answers."),
        (
            {"verdict": "RACY", "diagnosis": {"sentence": "looks like 2 processes, each with its own counter"}},
            "Looks like 2 processes, each with its own counter.",
        ),
        ({"verdict": "INCONCLUSIVE", "ok": 0}, "Not one request was answered with a number"),
        ({"verdict": "INCONCLUSIVE", "ok": 3, "reason": "only 3 of 9 were answered"}, "Nothing is proved: only 3 of 9"),
        ({"verdict": "INCONCLUSIVE", "ok": 3, "unknown": 1}, "Nothing is proved: the outcome of 1 request is unknown."),
        (
            {"verdict": "INCONCLUSIVE", "ok": 3, "max_in_flight": 1, "clients": 100},
            "Nothing is proved: at most 1 request of 100 clients met",
        ),
    ],
)
def test_the_verdict_in_one_sentence(document, sentence):
    assert words.verdict(document).startswith(sentence)


def test_the_judge_speaks_of_clients():
    """In a history a process is who calls; on the page processes are servers'."""
    judged = row([add(0, 0, 10, 1), add(1, 5, 20, 1)]).judged.reason
    assert "process 0" in judged
    told = words.reason(judged)
    assert re.match(r"Client \d's add of 1 that answered 1 and client \d's add", told)
    assert words.reason("") == ""


def test_all_races_in_one_sentence():
    right_one, wrong, odd = right().document(), apart().document(), {**right().document(), "expected": "RACY"}
    seen = Foreign([add(0, 0, 10, 1), add(1, 5, 20, 1)]).document()
    assert words.summary([right_one, wrong]) == "2 races, all as expected."
    assert words.summary([right_one, odd]) == "2 races, 1 not as expected: lock."
    assert words.summary([seen]) == "1 race, 1 with a race in it."
    assert words.summary([]) == "No race came to its end."


def test_an_address_is_shown_without_its_password():
    assert words.shown_url("http://bob:s3cret@127.0.0.1:5000/n?x=1") == "http://127.0.0.1:5000/n?x=1"
    assert words.shown_url("http://[::1]:5000/n") == "http://[::1]:5000/n"
    assert words.shown_url("http://u:p@[::1") == "[::1"
    assert words.title({"url": "http://bob:s3cret@127.0.0.1/"}) == "http://127.0.0.1/"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (["--header", "Authorization: Bearer hunter2"], ["--header", "Authorization: ..."]),
        (["--header", "X-Api-Key:hunter2"], ["--header", "X-Api-Key: ..."]),
        (["--header", "Cookie: session=hunter2"], ["--header", "Cookie: ..."]),
        (["--header", "Accept: text/plain"], ["--header", "Accept: text/plain"]),
        (["--body", '{"password": "hunter2"}'], ["--body", "..."]),
        (
            ["race", "http://127.0.0.1/n?a=1&api_key=hunter2&b=2#x"],
            ["race", "http://127.0.0.1/n?a=1&api_key=...&b=2#x"],
        ),
        (["--body", '{"by": 1}'], ["--body", '{"by": 1}']),
        (["--read", "http://bob:hunter2@127.0.0.1/n"], ["--read", "http://127.0.0.1/n"]),
    ],
)
def test_a_command_is_shown_without_its_secrets(typed, shown):
    assert setting.shown(typed) == shown


def test_the_command_of_our_own_races():
    assert setting.command(setting.told(apart().document())) == (
        "quart-counter race lock --workers 2 --clients 16 --requests 16"
    )


def test_the_command_of_a_race_of_others():
    """What was not said is not repeated, a start of 0 is, and a shell takes it as it was."""
    told = foreign.words(
        "http://127.0.0.1:5000/n?a=1&b=2",
        clients=10,
        method="GET",
        header=("X-A: 1", "X-B: two words"),
        body=None,
        start=0,
        repeat=1,
        **{"per-client": True, "gaps-allowed": False},
    )
    assert setting.command(told) == (
        "quart-counter race 'http://127.0.0.1:5000/n?a=1&b=2' --clients 10 --method GET --header 'X-A: 1' "
        "--header 'X-B: two words' --start 0 --per-client"
    )


def test_where_it_ran_names_no_machine_and_nobody():
    told = setting.environment()
    assert list(told) == ["quart-counter", "Quart", "Hypercorn", "httpx", "Python", "Platform", "Cores"]
    import getpass
    import platform

    assert platform.node() not in " ".join(told.values()).split()
    assert getpass.getuser() not in " ".join(told.values()).split()
