"""Ids as file names: readable where they are ordinary, safe everywhere, never two on one name."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from order_fsm_adapters.json_files.file_names import file_name, named


@pytest.mark.parametrize("plain", ["1001", "2026-01-05_7", "a", "-x", "e481f51cbdc54678b7cc49136f2d6af7"])
def test_ordinary_ids_are_their_own_names(plain: str) -> None:
    assert file_name(plain) == plain


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("TEAPOT", "+t+e+a+p+o+t"),
        ("../etc", "%2e%2e%2fetc"),
        ("C:\\x", "+c%3a%5cx"),
        ("con", "%63on"),
        ("Con", "+con"),
        ("com1", "%63om1"),
        ("aux.txt", "aux%2etxt"),
        ("x. ", "x%2e%20"),
        ("~a+%", "%7ea%2b%25"),
        ("é", "%c3%a9"),
    ],
)
def test_others_are_escaped(name: str, written: str) -> None:
    assert file_name(name) == written


ids = st.text(min_size=1, max_size=200, alphabet=st.characters(exclude_categories=["Cs", "Cc"]))
nasty = st.sampled_from(["con", "CON", "A1", "a1", "+a1", "%41", "é", "é", "ﬁ", "fi", "K", "ß", "ss", "x", "x."])


@given(ids | nasty)
@example("\U0001f600" * 200)
@example("a" * 200)
def test_a_name_is_safe_everywhere(name: str) -> None:
    written = file_name(name)
    assert set(written) <= set(string.ascii_lowercase + string.digits + "-_+%~")
    assert 1 <= len(f"orders.{written}.json.tmp") <= 255
    assert written not in {"con", "prn", "aux", "nul", "com0", "com9", "lpt1"}


@given(ids | nasty, ids | nasty)
@example("\U0001f600" * 200, "\U0001f600" * 199 + "\U0001f601")
@example("A" * 120, "a" * 120)
def test_two_ids_have_two_names_on_whatever_file_system(one: str, other: str) -> None:
    assume(one != other)

    def folded(name: str) -> str:
        return unicodedata.normalize("NFKC", file_name(name).casefold()).strip(". ")

    assert folded(one) != folded(other)


@given(st.text(min_size=1, max_size=60))
def test_a_name_that_is_not_shortened_tells_the_id(one: str) -> None:
    name = file_name(one)
    assert named(name) == (None if "~" in name else one)


@pytest.mark.parametrize("name", ["A", "%zz", "%ff", "+", "a b", "%61", "", "con"])
def test_what_is_no_such_name_tells_none(name: str) -> None:
    assert named(name) is None
