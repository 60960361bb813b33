"""`quart-counter race URL`: what it prints, what it refuses, and how it exits."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from e2e.served import started
from rude import Call, count, rude

from quart_counter import cli, testing
from quart_counter.lab.checker import ANOMALIES, check
from quart_counter.lab.history import load


@pytest.fixture(scope="module")
def server():
    """The base URL of a server that knows nothing of us."""
    command = [sys.executable, str(Path(__file__).with_name("naive_server.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


def race(*arguments: str):
    return CliRunner().invoke(cli.main, ["race", *arguments])


def row(answer) -> dict:
    (only,) = json.loads(answer.stdout)["rows"]
    return only


def test_a_racy_url(server):
    answer = race(f"{server}/racy", "--clients", "20")
    assert answer.exit_code == 1
    assert "\n\nRACY: " in answer.stdout
    assert "looks like lost updates" in answer.stdout
    assert "  remedy  " in answer.stdout
    assert answer.stdout.count("client ") >= 2


def test_a_right_url(server):
    answer = race(f"{server}/right", "--clients", "20", "--requests", "60", "--read", f"{server}/number")
    assert answer.exit_code == 0
    assert "NO_RACE_SEEN: 0 duplicates in 61 requests, up to 20 in flight\n" in answer.stdout
    assert "SAFE" not in answer.stdout


def test_the_document_is_the_contract(server, tmp_path):
    answer = race(f"{server}/racy", "--clients", "20", "--json", "--history", str(tmp_path))
    told = row(answer)
    assert list(told) == [
        *("url", "method", "answer", "workers", "clients", "requests", "ok", "fail", "unknown", "distinct", *ANOMALIES),
        *("final", "max_in_flight", "pids", "verdict", "expected", "client_bound_per_s", "p50_ms", "p99_ms"),
        *("witness", "reason", "diagnosis", "troubles"),
    ]
    assert (told["verdict"], told["requests"], told["workers"], told["p50_ms"]) == ("RACY", 21, None, None)
    assert told["diagnosis"]["kind"] == "lost_update"
    (file,) = tmp_path.iterdir()
    assert check(load(file), None).anomalies == {name: told[name] for name in ANOMALIES}


def test_an_answer_that_is_named_needs_no_first_request(server):
    """So that even the very first increment is raced."""
    told = row(race(f"{server}/right", "--clients", "10", "--answer", r"regex:are (\d+)", "--json"))
    assert (told["requests"], told["verdict"], told["answer"]) == (10, "NO_RACE_SEEN", r"regex:are (\d+)")


def test_steps_are_told_of_a_url_too(server):
    answer = race(f"{server}/racy", "--clients", "20", "--explain")
    told = [line.split("ms  ")[1] for line in answer.stdout.splitlines() if " ms  client" in line]
    assert [line.endswith("asks for a number") for line in told[:2]] == [True, True]
    assert "is answered" in told[-1]


REFUSED = [
    ("two integers", ["{}/two"], "Error: the answer holds 2 integers:\n  --answer 'json:/ticket'  now "),
    ("nothing there", ["{}/nothing"], "answered 404 Not Found"),
    ("wrong method", ["{}/right", "--method", "PATCH"], "answered 501"),
    ("nobody there", ["http://127.0.0.1:1/"], "(connection refused): start the server first"),
    ("somebody else's", ["http://192.0.2.1/"], "--i-own 192.0.2.1"),
    ("modes beside it", ["lock", "{}/right"], "one URL at a time"),
    ("two of them", ["{}/right", "{}/racy"], "one URL at a time"),
    ("workers", ["{}/right", "--workers", "2"], "--workers is about our own modes"),
    ("a store", ["{}/right", "--url", "redis://h"], "--url is about our own modes"),
    ("no URL", ["lock", "--answer", "json:"], "--answer is about a URL: write race http://... --answer"),
    ("no URL, even a default", ["--timeout", "10"], "--timeout is about a URL"),
    ("a read of many", ["{}/right", "--per-client", "--read", "{}/n"], "there is one for each client"),
    ("a wrong start", ["{}/right", "--start", "-5", "--read", "{}/n"], "--start says -5, and --read answers "),
    ("no header", ["{}/right", "--header", "X"], "is not a header: write --header 'Name: value'"),
    ("a page that cannot be", ["{}/right", "--html", "/nowhere/at/all.html"], "--html"),
]


@pytest.mark.parametrize(("arguments", "sentence"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_meant_is_one_sentence(server, arguments, sentence):
    answer = race(*(argument.format(server) for argument in arguments))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_race_tells_what_it_learnt(sent):
    """Ctrl-C, or a CI whose time is up: what was answered stays, what was under way is unknown, nothing follows."""
    half_way = asyncio.Event()

    async def half(call: Call) -> None:
        if call.number == 11:
            half_way.set()
        await (count(call) if call.number < 5 else asyncio.sleep(60))

    async with rude(half) as server, started("race", server.url, "--clients", "10") as command:
        await half_way.wait()
        command.signal(sent)
        assert await command.status() == 3
    said = "\n".join(command.said)
    assert "interrupted" in said
    counted = re.search(r"ok (\d)  fail 0  unknown (\d+)", said)
    assert counted is not None
    ok, unknown = map(int, counted.groups())
    assert (1 <= ok <= 4, ok + unknown) == (True, 11)
    assert f"INCONCLUSIVE: only {ok} of 11 requests were answered with a number" in said
    assert f"{unknown} x interrupted" in said
    assert "Traceback" not in said


LIGHT = "import sys; from quart_counter.lab.foreign import report; print(sorted({'httpx', 'redis'} & set(sys.modules)))"


def test_a_url_is_raced_without_the_extra_of_the_lab():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


VOLLEYS = 10


@pytest.mark.soak
async def test_let_go_together_finds_more_than_firing(server):
    """The window at /tight is some microseconds: the same requests without a gate meet in it less often."""
    url = f"{server}/tight"
    together = plain = 0
    for _ in range(VOLLEYS):
        numbers = (await testing.race(server, "POST /tight", answer=r"regex:\d+")).numbers
        together += len(numbers) - len(set(numbers))
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=100), verify=False) as client:
            answers = await asyncio.gather(*(client.post(url) for _ in range(100)))
        plain += 100 - len({answer.text for answer in answers})
    print(f"of {100 * VOLLEYS} answers, repeated: {together} let go together, {plain} fired")  # noqa: T201 - a figure to quote
    assert together > plain
