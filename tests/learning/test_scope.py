from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from lepton_app.learning.features import Floats, Ngrams
from lepton_app.learning.scope import Scope, best_threshold, fit_scope, mean_of_largest


def cloud(seed: int, rows: int) -> Floats:
    generator = np.random.default_rng(seed)
    points = np.zeros((rows, 8), dtype=np.float32)
    points[:, 0] = 1
    points += generator.normal(scale=0.15, size=points.shape).astype(np.float32)
    unit: Floats = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit


def fit(texts: list[str], dense: Floats, **changes: float) -> tuple[Scope, Ngrams]:
    ngrams = Ngrams.learn(texts)
    arguments: dict[str, object] = {"false_refusals": 0.05, "neighbours": 5, "most_rows": 1000, "seed": 0}
    return fit_scope(texts, dense, ngrams.matrix(texts), **(arguments | changes)), ngrams  # type: ignore[arg-type]


TEXTS = [f"word{n} text" for n in range(400)]


def test_as_many_genuine_texts_are_refused_as_stated() -> None:
    for share in (0.02, 0.05, 0.2):
        scope, ngrams = fit(TEXTS, cloud(1, 400), false_refusals=share)
        fresh = [f"fresh{n}" for n in range(4000)]
        scores = scope.scores(fresh, cloud(2, 4000), ngrams.matrix(fresh))
        assert (scores < 0).mean() == pytest.approx(share, abs=0.035)
        assert np.median(scores) == pytest.approx(1, abs=0.15)


def test_what_points_elsewhere_is_refused() -> None:
    scope, ngrams = fit(TEXTS, cloud(1, 400))
    away = -cloud(3, 50)
    assert (scope.scores(["x"] * 50, away, ngrams.matrix(["x"] * 50)) < 0).all()


def test_a_text_and_its_repetitions_do_not_vouch_for_each_other() -> None:
    once, _ = fit(TEXTS, cloud(1, 400))
    dense = cloud(1, 400)
    twice, _ = fit(TEXTS + [text.upper() for text in TEXTS], np.concatenate([dense, dense]))
    assert twice.languages["en"].low > once.languages["en"].low  # neighbours come in pairs, so they are nearer
    assert twice.languages["en"].middle < 0.999


def test_each_language_has_its_own_rows_and_scale() -> None:
    chinese = [f"我的卡{chr(0x4E00 + n)}丢了" for n in range(40)]
    scope, ngrams = fit(TEXTS + chinese, cloud(1, 440))
    assert {language: known.dense.shape[1] for language, known in scope.languages.items()} == {"en": 400, "zh": 40}
    near, far = ["我的卡丢了"], ["附近哪里有电影院"]
    row = cloud(4, 1)
    assert scope.scores(near, row, ngrams.matrix(near))[0] > 0 > scope.scores(far, row, ngrams.matrix(far))[0]


def test_a_language_without_rows_is_compared_with_the_other() -> None:
    scope, ngrams = fit(TEXTS, cloud(1, 400))
    scores = scope.scores(["余额", "balance"], np.repeat(cloud(5, 1), 2, axis=0), ngrams.matrix(["余额", "balance"]))
    assert scores[0] == scores[1]


def test_many_rows_are_thinned_out() -> None:
    scope, _ = fit(TEXTS, cloud(1, 400), most_rows=50)
    assert scope.languages["en"].dense.shape == (8, 50)


def test_one_text_stands_alone() -> None:
    scope, ngrams = fit(["only"], cloud(1, 1))
    score = scope.scores(["only"], cloud(1, 1), ngrams.matrix(["only"]))
    assert np.isfinite(score).all()
    assert score[0] >= 0


def test_the_threshold_separates_what_can_be_separated() -> None:
    scope, _ = fit(TEXTS, cloud(1, 400))
    strangers = np.linspace(-30, -20, 50)
    threshold = best_threshold(scope, strangers)
    lowest = scope.languages["en"].scaled(scope.languages["en"].genuine).min()
    assert -20 < threshold <= lowest
    with pytest.raises(ValueError):
        best_threshold(scope, np.empty(0))


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20), st.integers(1, 8))
def test_the_mean_of_the_largest(values: list[float], number: int) -> None:
    expected = np.mean(sorted(values)[-number:])
    assert mean_of_largest(np.array([values], dtype=np.float32), number)[0] == pytest.approx(expected, abs=1e-6)


def test_sparse_similarity_is_the_cosine_of_n_grams() -> None:
    texts = ["我的卡丢了", "查一下余额", "转账没有到"]
    scope, ngrams = fit(texts, cloud(1, 3))
    known = replace(scope.languages["zh"], ngram_share=1.0)
    similarity = known.similarities(cloud(1, 3), ngrams.matrix(texts))
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)
    assert isinstance(known.sparse, sp.csr_matrix)
