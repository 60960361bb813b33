"""Tokens: kept as hashes, read strictly, read again when they change."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_counter.access import tokens
from quart_counter.access.rates import Rate, parse_rate
from quart_counter.access.tokens import Credential, Tokens, hash_of, new_token
from quart_counter.errors import ConfigurationError

HASH = hash_of("a token")


def test_a_new_token_is_found_by_its_line_and_is_not_in_it():
    token, kept = new_token(["increment"], prefixes=["tickets."], id="web")
    assert token not in kept.line()
    assert token.removeprefix("qc_") not in kept.line()
    assert Tokens(kept.line()).find(token) == kept
    assert len(token) == len("qc_") + 43  # 256 bits


def test_no_two_are_alike():
    assert len({new_token(["read"])[0] for _ in range(100)}) == 100


@pytest.mark.parametrize("token", ["", "qc_", "x", HASH, "\x00", "\udcff", "ÿ", "a token " + "x" * 10_000])
def test_a_made_up_token_is_nobodys(token):
    assert Tokens(f"id=a scope=admin sha256={HASH}").find(token) is None


def test_a_file_of_many_is_read_line_by_line(tmp_path):
    """In the loop of every worker, whenever it changes: 0.15 s here, 19 s when each line looked at all before it."""
    file = tmp_path / "tokens"
    file.write_text("".join(f"id=client-{n} scope=read sha256={hash_of(str(n))}\n" for n in range(20_000)))
    began = time.process_time()
    known = Tokens(str(file))
    assert time.process_time() - began < 4
    assert known.find("19999").id == "client-19999"


def test_every_word_of_a_line():
    line = f"id=a-1 scope=read,increment prefix=a.,b expires=2999-01-31T12:00:00Z rate=5/60s max_names=7 sha256={HASH}"
    found = Tokens(line).find("a token")
    assert found == Credential(
        "a-1", HASH, frozenset({"read", "increment"}), ("a.", "b"), 32474779200.0, Rate(5, 60), 7
    )
    assert found.line() == line


words = st.lists(st.sampled_from(tokens.SCOPES[:-1]), min_size=1)
prefixes = st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,9}", fullmatch=True), max_size=3)


@given(words, prefixes, st.sampled_from(["", "1m", "12h", "30d"]), st.none() | st.integers(1, 10**12 - 1))
def test_a_line_is_read_as_it_was_written(scopes, prefixes, expires, max_names):
    token, kept = new_token(scopes, prefixes=prefixes, expires=expires, max_names=max_names)
    assert Tokens(kept.line()).find(token) == kept


GOOD = f"id=a scope=read sha256={HASH}"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (f"sha256={HASH}", "id must be"),
        (f"id=a/b scope=read sha256={HASH}", "id must be"),
        ("id=a scope=read sha256=abc", "sha256 must be 64"),
        (f"id=a scope=read sha256={HASH.upper()}", "sha256 must be 64"),
        (f"id=a sha256={HASH}", "scope must be"),
        (f"id=a scope=write sha256={HASH}", "scope must be"),
        (f"id=a scope= sha256={HASH}", "scope must be"),
        (f"id=a scope=read prefix= sha256={HASH}", "prefix must be"),
        (f"id=a scope=read prefix=a,,b sha256={HASH}", "prefix must be"),
        (f"id=a scope=read prefix=~session. sha256={HASH}", "prefix must be"),
        (f"id=a scope=admin prefix=a sha256={HASH}", "admin is for every name"),
        (f"id=a scope=read expires=tomorrow sha256={HASH}", "expires is 'tomorrow'"),
        (f"id=a scope=read expires=2027-02-30T00:00:00Z sha256={HASH}", "expires is"),
        (f"id=a scope=read rate=fast sha256={HASH}", "rate is 'fast'"),
        (f"id=a scope=read max_names=0 sha256={HASH}", "max_names is '0'"),
        (f"id=a scope=read max_names=-1 sha256={HASH}", "max_names is '-1'"),
        (f"id=a scope=read scopes=read sha256={HASH}", "the words id, sha256"),
        (f"id=a scope=read read sha256={HASH}", "write word=value"),
        (f"id=a scope=read id=b sha256={HASH}", "id is there twice"),
        (f"{GOOD}\n{GOOD}", "this sha256 is there twice"),
        (f"# sha256={HASH}", "holds no token"),
        (f"id=a sha256={HASH} scope=read", "sha256 must stand last"),
        (f"{GOOD}\nid=a rate=5/s scope=read sha256={'0' * 64}", "they are one client"),
        (f"{GOOD}\nid=a max_names=5 scope=read sha256={'0' * 64}", "they are one client"),
    ],
)
def test_a_wrong_line_is_told_in_a_sentence(line, sentence):
    with pytest.raises(ConfigurationError, match=r"line|holds no token") as told:
        Tokens(line)
    assert sentence in str(told.value)


@pytest.mark.parametrize(
    ("word", "rate"), [("100/1s", (100, 1)), ("5/s", (5, 1)), ("7/2m", (7, 120)), ("1/h", (1, 3600))]
)
def test_rates(word, rate):
    assert parse_rate("rate", word) == rate
    assert parse_rate("rate", str(Rate(*rate))) == rate


@pytest.mark.parametrize("word", ["", "1", "0/1s", "1/0s", "1/1d", "-1/1s", "1.5/1s", "1/1s ", "\u0661/1s"])
def test_no_rates(word):
    with pytest.raises(ConfigurationError, match="write a rate as"):
        parse_rate("rate", word)


def test_the_life_of_a_token():
    assert new_token(["read"], expires="30d")[1].expires == pytest.approx(time.time() + 30 * 86_400, abs=60)
    with pytest.raises(ConfigurationError, match="give a life such as 30d"):
        new_token(["read"], expires="soon")


def test_it_ends_when_its_time_is_over():
    assert Tokens(f"id=a scope=read expires=2001-01-01T00:00:00Z sha256={HASH}").find("a token") is None


# What it allows


def test_admin_may_everything_and_the_others_what_they_say():
    admin, reader = (Credential("a", HASH, frozenset({scope})) for scope in ("admin", "read"))
    assert all(map(admin.has, tokens.SCOPES))
    assert [scope for scope in tokens.SCOPES if reader.has(scope)] == ["read"]


def test_keys_of_two_clients_never_meet():
    """Also where one client knows how the other's keys are written."""
    one, other = (Credential(id, HASH, frozenset({"set"})) for id in ("a", "b"))
    keys = ["k", "a:k", "b:k", other.owned("k"), one.owned("k"), "x" * 255]
    assert len({who.owned(key) for who in (one, other) for key in keys}) == 2 * len(keys)
    assert all(len(one.owned(key)) < 255 for key in keys)


# The file


def replaced(path: Path, text: str) -> None:
    """As editors do: another file takes the place."""
    (path.parent / "new").write_text(text)
    os.replace(path.parent / "new", path)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "LOOK_AGAIN_S", 0)
    path = tmp_path / "tokens"
    path.write_text(f"# ours\n\n{GOOD}\n")
    return path


def test_a_token_is_revoked_and_another_let_in_without_a_restart(file):
    ours = Tokens(str(file))
    assert ours.find("a token")
    replaced(file, f"id=b scope=read sha256={hash_of('another')}\n")
    assert ours.find("a token") is None
    assert ours.find("another").id == "b"


@pytest.mark.parametrize("slip", ["nonsense", "id=b", "\xff"])
def test_a_slip_of_the_pen_locks_nobody_out_and_is_told_once(file, slip, caplog):
    ours = Tokens(str(file))
    (file.parent / "new").write_bytes(slip.encode("latin-1"))
    os.replace(file.parent / "new", file)
    for _ in range(3):
        assert ours.find("a token")
        assert ours.find("another") is None
    (told,) = caplog.messages
    assert told.endswith("the tokens read before stay in force")


@pytest.mark.parametrize("nothing", ["", "# nobody\n", f"#{GOOD}"])
def test_a_file_without_a_line_means_nobody(file, nothing, caplog):
    ours = Tokens(str(file))
    replaced(file, nothing)
    for _ in range(3):
        assert ours.find("a token") is None
    (told,) = caplog.messages
    assert "nobody is let in" in told
    assert Tokens(str(file)).find("a token") is None, "and one that is made anew, as for a worker, says the same"
    replaced(file, GOOD)
    assert ours.find("a token")


def test_a_file_that_is_being_written_is_believed_when_it_rests(file, monkeypatch):
    """`cat new > tokens` cuts it to nothing first; what replaces it at once is believed at once."""
    monkeypatch.setattr(tokens, "SETTLE_S", 0)
    ours = Tokens(str(file))
    file.write_text("")
    assert ours.find("a token")
    file.write_text(f"{GOOD}\nid=b scope=read sha256={hash_of('another')}\n")
    assert ours.find("a token")
    assert ours.find("another")
    file.write_text("")
    assert ours.find("a token")
    assert ours.find("a token") is None


def test_what_was_found_is_in_force_until_its_line_or_its_time_is_over(file, monkeypatch):
    ours = Tokens(str(file))
    found = ours.find("a token")
    assert ours.in_force(found)
    for other in (
        f"id=a scope=read prefix=b. sha256={HASH}",
        f"id=a scope=read expires=2027-01-31T12:00:00Z sha256={HASH}",
        "# nobody",
    ):
        replaced(file, other)
        assert not ours.in_force(found), other
    replaced(file, GOOD)
    assert ours.in_force(found)
    replaced(file, f"id=a scope=read expires=2001-01-31T12:00:00Z sha256={HASH}")
    assert not ours.in_force(next(iter(ours._by_hash.values())))


def test_a_file_that_is_cut_short_opens_nothing(file):
    """Whatever a full disk or half of a copy left of it: what it allows was allowed before."""
    token, one = new_token(["increment"], prefixes=["tickets."], expires="1h", id="shop", rate="5/1h", max_names=1)
    whole = f"{GOOD}\n{one.line()}\n"
    for length in range(len(whole)):
        replaced(file, GOOD)
        ours = Tokens(str(file))
        replaced(file, whole[:length])
        assert ours.find(token) in (None, one)
        assert ours.find("a token") in (None, Tokens(GOOD).find("a token"))


def test_a_pipe_is_no_file(file):
    """It would stop the worker, and could not be read again."""
    ours = Tokens(str(file))
    file.unlink()
    os.mkfifo(file)
    assert ours.find("a token")
    with pytest.raises(ConfigurationError, match="no file that can be read again"):
        Tokens(str(file))


def test_a_file_that_went_away_and_came_back(file, caplog):
    ours = Tokens(str(file))
    file.unlink()
    assert ours.find("a token")
    assert ours.find("a token")
    assert len(caplog.messages) == 1
    file.write_text(f"id=b scope=read sha256={hash_of('another')}")
    assert ours.find("a token") is None
    assert ours.find("another")


@pytest.mark.parametrize("around", ["{}", " {}", "'{}'", "Bearer {}", "x={}\n"])
def test_a_token_in_the_place_of_its_file_is_not_repeated(around):
    token, _ = new_token(["read"])
    with pytest.raises(ConfigurationError, match="holds a token itself") as told:
        Tokens(around.format(token))
    assert token not in str(told.value)


def test_a_file_may_be_called_as_a_token_begins(tmp_path):
    path = tmp_path / "qc_production_tokens"
    path.write_text(GOOD)
    assert Tokens(str(path)).find("a token")


@pytest.mark.parametrize(("name", "sentence"), [("none", "cannot be read"), (".", "no file that can be read")])
def test_without_tokens_it_does_not_start(tmp_path, name, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        Tokens(str(tmp_path / name))
