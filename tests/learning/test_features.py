from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from lepton_app.learning.features import Ngrams, Weights
from lepton_app.lib.ngrams import ngrams

TEXTS = ["where is my card", "my card is lost", "close the account please", "转账为什么没有到账", "card 丢了"]


def test_rows_are_those_of_scikit_learn() -> None:
    english = TEXTS[:3]
    reference = TfidfVectorizer(analyzer=ngrams, sublinear_tf=True)
    expected = reference.fit_transform(english).toarray()
    model = Ngrams.learn(english)
    assert model.vocabulary == reference.get_feature_names_out().tolist()
    np.testing.assert_allclose(model.matrix(english).toarray(), expected, atol=1e-6)


def test_rare_n_grams_are_left_out() -> None:
    model = Ngrams.learn(TEXTS, least_texts=2)
    assert " card" in model.vocabulary
    assert " lost" not in model.vocabulary


@given(st.lists(st.sampled_from([*TEXTS, "", "zzz 龘", "carrrd"]), max_size=6))
def test_rows_are_unit_or_zero_and_do_not_depend_on_each_other(texts: list[str]) -> None:
    model = Ngrams.learn(TEXTS)
    matrix = model.matrix(texts)
    assert matrix.shape == (len(texts), len(model))
    for row, text in enumerate(texts):
        norm = float(np.sqrt(matrix[[row]].multiply(matrix[[row]]).sum()))
        assert norm == pytest.approx(1, abs=1e-5) or norm == 0
        np.testing.assert_array_equal(matrix[[row]].toarray(), model.matrix([text]).toarray())


def test_the_embedding_counts_less_the_more_chinese_a_text_is() -> None:
    weights = Weights(dense=1.0, ngrams=0.6, dense_zh=0.2, ngrams_zh=1.0)
    dense = [weights.of(text)[0] for text in ("my card", "my card 丢了", "卡丢了")]
    assert dense == sorted(dense, reverse=True)
    assert (dense[0], dense[-1]) == (1.0, 0.2)


def test_a_vocabulary_needs_its_frequencies() -> None:
    with pytest.raises(ValueError):
        Ngrams(["a", "b"], np.ones(1, dtype=np.float32))


def test_an_n_gram_of_one_label_counts_more_than_one_of_all() -> None:
    texts = ["卡丢了", "卡丢", "卡没到", "卡到了没", "余额", "卡余额"]
    model = Ngrams.learn(texts, targets=np.array([0, 0, 1, 1, 2, 2]))
    plain = Ngrams.learn(texts)
    told = dict(zip(model.vocabulary, model.counts_for / plain.counts_for, strict=True))
    assert model.vocabulary == plain.vocabulary
    assert min(told.values()) > 0
    assert told["丢"] > told["余"] * 0.99 > told["卡"]


def test_the_divergence_of_an_n_gram_worked_by_hand() -> None:
    # "卡" is in both texts of label 0 of four texts, two of each label; smoothed by one text: 2.5/3 and 0.5/3
    model = Ngrams.learn(["卡", "卡", "y", "y"], targets=np.array([0, 0, 1, 1]))
    divergence = (2.5 / 3) * np.log(2.5 / 3 / 0.5) + (0.5 / 3) * np.log(0.5 / 3 / 0.5)
    factor = (np.log(5 / 3) + 1) * np.sqrt(divergence)
    assert model.counts_for[model.vocabulary.index("卡")] == pytest.approx(factor)
    assert model.counts_for[model.vocabulary.index(" y ")] == pytest.approx(np.log(5 / 3) + 1)
