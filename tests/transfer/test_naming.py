"""Foreign names: what becomes of them, and that no two become one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quart_counter.errors import ConfigurationError, InvalidChange
from quart_counter.model import NAME
from quart_counter.transfer.naming import Naming, pair


@pytest.mark.parametrize(
    ("prefix", "pairs", "key", "name"),
    [
        ("", [], "tickets", "tickets"),
        ("shop:", [], "shop:tickets", "tickets"),
        ("", [(":", ".")], "shop:tickets:2024", "shop.tickets.2024"),
        ("shop:", [(":", ".")], "shop:a:b", "a.b"),
        ("", [(":", "."), ("/", "--")], "a:b/c", "a.b--c"),
    ],
)
def test_a_name(prefix, pairs, key, name):
    assert Naming(prefix, pairs).name(key) == name


@pytest.mark.parametrize(
    ("prefix", "pairs", "key", "sentence"),
    [
        ("", [], "shop:tickets", "is no counter name.*--map :=. writes a dot for each colon"),
        ("shop:", [], "tickets", "does not begin with 'shop:'"),
        ("shop:", [], "shop:", "became '', which is no counter name"),
        ("", [(":", "/")], "a:b", "became 'a/b', which is no counter name"),
        ("", [(":", ".")], "a:b.c", "'a:b.c' would share the name a.b.c with another key"),
        ("", [(":", ".")], "a.b", "would share the name a.b"),
        ("", [(":", "x"), ("/", "x")], "a:b", "would share the name axb"),
    ],
)
def test_a_key_without_a_name_of_its_own(prefix, pairs, key, sentence):
    with pytest.raises(InvalidChange, match=sentence):
        Naming(prefix, pairs).name(key)


LETTERS = "ab:./"
TEXTS = st.text(LETTERS, min_size=1, max_size=4)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=3), st.text(LETTERS, max_size=2), st.lists(TEXTS, min_size=2))
@example([(":", ".")], "", ["a:b", "a.b"])
def test_no_two_keys_get_one_name(pairs, prefix, keys):
    naming, of = Naming(prefix, pairs), {}
    for key in {*keys, *(prefix + key for key in keys)}:
        try:
            name = naming.name(key)
        except InvalidChange:
            continue
        assert NAME.fullmatch(name)
        assert of.setdefault(name, key) == key


@pytest.mark.parametrize("text", ["", ":", "=", "=.", ":="])
def test_what_is_no_pair(text):
    with pytest.raises(ConfigurationError, match=r"--map :=\."):
        pair(text)


def test_a_pair():
    assert (pair(":=."), pair("a=b=c")) == ((":", "."), ("a", "b=c"))
