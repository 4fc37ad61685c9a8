from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from lepton_app.lib.ngrams import ngrams, normalise

ENGLISH = st.text(alphabet="abcd' .!", max_size=40)
MIXED = st.text(alphabet="ab1 我的卡余额，!", max_size=30)


def inner(text: str) -> list[str]:
    """Return the n-grams that are not marked as a text's first or last characters."""
    return [gram for gram in ngrams(text) if not (gram.startswith("^") or gram.endswith("$"))]


@given(st.text(alphabet="ab 卡", max_size=9))
def test_the_edges_of_a_text_with_chinese_are_marked(text: str) -> None:
    plain = normalise(text)
    edges = [gram for gram in ngrams(text) if gram not in inner(text)]
    lengths = range(1, min(3, len(plain)) + 1) if "卡" in plain else ()
    assert edges == [f"^{plain[:n]}" for n in lengths] + [f"{plain[-n:]}$" for n in lengths]


@given(ENGLISH)
def test_words_give_the_n_grams_of_scikit_learn(text: str) -> None:
    reference = CountVectorizer(analyzer="char_wb", ngram_range=(2, 5)).build_analyzer()
    assert sorted(inner(text)) == sorted(reference(text))


@given(st.text(alphabet="我的卡余额", min_size=1, max_size=12))
def test_a_chinese_run_gives_its_characters_and_pairs(text: str) -> None:
    expected = [text[start : start + n] for n in (1, 2) for start in range(len(text) - n + 1)]
    assert sorted(inner(text)) == sorted(expected)


@given(MIXED)
def test_scripts_never_share_an_n_gram(text: str) -> None:
    for gram in inner(text):
        chinese = sum("\u4e00" <= character <= "\u9fff" for character in gram)
        assert chinese in (0, len(gram))


@given(st.text(max_size=60))
def test_any_text_is_borne_and_normalising_changes_nothing_further(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once or "\u0345" in text or once != text
    assert "\n" not in "".join(ngrams(text))


def test_a_word_of_a_hundred_kilobytes_is_cut() -> None:
    assert len(inner("x" * 100_000)) == 65 + 64 + 63 + 62


def test_case_width_and_spaces_do_not_matter() -> None:
    assert ngrams("ＶＩＳＡ  Card") == ngrams("visa card")
