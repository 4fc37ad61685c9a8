from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lepton_app.learning.features import Floats, Ngrams
from lepton_app.learning.scope import Scope, best_threshold, fit_scope, log_odds

CORNERS = 4


def cloud(seed: int, rows: int, *, noise: float = 0.15) -> Floats:
    """Points around four corners of a space of 8 dimensions, in turn: unit rows."""
    generator = np.random.default_rng(seed)
    points = np.eye(8, dtype=np.float32)[np.arange(rows) % CORNERS]
    points += generator.normal(scale=noise, size=points.shape).astype(np.float32)
    unit: Floats = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit


def said(dense: Floats) -> Floats:
    """Return the logits of a classifier that knows the corners."""
    logits: Floats = 10 * dense[:, :CORNERS]
    return logits


def fit(
    texts: list[str], dense: Floats, *, judged: NDArray[np.bool_] | None = None, **changes: float
) -> tuple[Scope, Ngrams]:
    ngrams = Ngrams.learn(texts)
    arguments: dict[str, object] = {"false_refusals": 0.05, "neighbours": 5, "most_rows": 1000, "seed": 0}
    judged = np.ones(len(texts), dtype=bool) if judged is None else judged
    targets = dense[:, :CORNERS].argmax(axis=1)
    scope = fit_scope(
        texts,
        targets,
        dense,
        ngrams.matrix(texts),
        said(dense),
        judged=judged,
        **(arguments | changes),  # type: ignore[arg-type]
    )
    return scope, ngrams


def scored(scope: Scope, ngrams: Ngrams, texts: list[str], dense: Floats) -> NDArray[np.float64]:
    return scope.scores(texts, dense, ngrams.matrix(texts), said(dense))


def sayings(seed: int, number: int) -> list[str]:
    """Four words each, of thirty: texts that tell nothing of their labels."""
    drawn = np.random.default_rng(seed).integers(0, 30, size=(number, 4))
    return [" ".join(f"word{word}" for word in words) for words in drawn.tolist()]


TEXTS = sayings(0, 400)


def test_as_many_genuine_texts_are_refused_as_stated() -> None:
    for share in (0.02, 0.05, 0.2):
        scope, ngrams = fit(TEXTS, cloud(1, 400), false_refusals=share)
        fresh = sayings(1, 4000)
        scores = scored(scope, ngrams, fresh, cloud(2, 4000))
        assert (scores < 0).mean() == pytest.approx(share, abs=0.035)
        assert np.median(scores) == pytest.approx(1, abs=0.15)


def test_what_points_elsewhere_is_refused() -> None:
    scope, ngrams = fit(TEXTS, cloud(1, 400))
    assert (scored(scope, ngrams, ["x"] * 50, -cloud(3, 50)) < 0).all()


def test_what_lies_between_two_labels_is_less_in_scope_than_what_lies_on_one() -> None:
    scope, ngrams = fit(TEXTS, cloud(1, 400))
    between = np.zeros((1, 8), dtype=np.float32)
    between[0, :2] = 0.5**0.5
    corner = np.eye(8, dtype=np.float32)[:1]
    assert scored(scope, ngrams, ["x"], corner)[0] > 0 > scored(scope, ngrams, ["x"], between)[0]


def test_a_wide_label_has_a_wider_boundary_than_a_narrow_one() -> None:
    """The same step away from its label's middle is refused where the label is narrow, and taken where it is wide."""
    dense = np.where((np.arange(400) % CORNERS == 0)[:, None], cloud(1, 400, noise=0.02), cloud(1, 400, noise=0.25))
    scope, ngrams = fit(TEXTS, dense)
    step = np.eye(8, dtype=np.float32)[:2].copy()
    step[:, 6] = 0.65
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    narrow, wide = scored(scope, ngrams, ["word7", "word7"], step)
    assert narrow < 0 < wide


def test_texts_that_were_learnt_set_no_scale() -> None:
    dense = np.concatenate([cloud(1, 200, noise=0.01), cloud(2, 200, noise=0.3)])
    judged = np.arange(400) >= 200
    scope, ngrams = fit(TEXTS, dense, judged=judged)
    fresh = sayings(1, 2000)
    assert (scored(scope, ngrams, fresh, cloud(3, 2000, noise=0.3)) < 0).mean() == pytest.approx(0.05, abs=0.05)


def test_a_text_and_its_repetitions_do_not_vouch_for_each_other() -> None:
    dense = cloud(1, 400)
    once, _ = fit(TEXTS, dense)
    four, _ = fit(TEXTS * 4 + [text.upper() for text in TEXTS], np.concatenate([dense] * 5), most_rows=5000)
    # The five nearest rows are then the five copies of the nearest other text: nearer, but no copy of the text itself.
    assert once.languages["en"].typical.mean() < four.languages["en"].typical.mean() < 0.999


def test_each_language_has_its_own_rows_and_scale() -> None:
    chinese = [f"我的卡{chr(0x4E00 + n)}丢了" for n in range(40)]
    scope, ngrams = fit(TEXTS + chinese, cloud(1, 440))
    assert {language: known.dense.shape[1] for language, known in scope.languages.items()} == {"en": 400, "zh": 40}
    row = cloud(4, 1)
    near, far = (scored(scope, ngrams, [text], row)[0] for text in ("我的卡丢了", "附近哪里有电影院"))
    assert near > 0 > far


def test_a_label_without_rows_in_a_language_leans_on_the_nearest_one() -> None:
    dense = cloud(1, 404)
    chinese = [f"我的卡{chr(0x4E00 + n)}丢了" for n in range(4)]
    dense[400:] = dense[400]  # all four Chinese texts stand under one label
    scope, ngrams = fit(TEXTS + chinese, dense)
    assert np.diff(scope.languages["zh"].starts).tolist().count(0) == 3
    assert np.isfinite(scored(scope, ngrams, ["我的卡丢了"] * 8, cloud(5, 8))).all()


def test_a_language_without_rows_is_compared_with_the_other() -> None:
    scope, ngrams = fit(TEXTS, cloud(1, 400))
    scores = scored(scope, ngrams, ["余额", "balance"], np.repeat(cloud(5, 1), 2, axis=0))
    assert scores[0] == scores[1]


def test_many_rows_are_thinned_out_and_stand_label_after_label() -> None:
    dense = cloud(1, 400)
    scope, _ = fit(TEXTS, dense, most_rows=50)
    known = scope.languages["en"]
    assert known.dense.shape == (8, 50)
    assert known.starts[[0, -1]].tolist() == [0, 50]
    for label in range(CORNERS):
        rows = known.dense[:CORNERS, known.starts[label] : known.starts[label + 1]]
        assert (rows.argmax(axis=0) == label).all()


def test_one_text_stands_alone() -> None:
    scope, ngrams = fit(["only"], cloud(1, 1), judged=np.zeros(1, dtype=bool))
    score = scored(scope, ngrams, ["only"], cloud(1, 1))
    assert np.isfinite(score).all()
    assert score[0] >= 0 > scored(scope, ngrams, ["other"], -cloud(1, 1))[0]


def test_the_threshold_separates_what_can_be_separated() -> None:
    scope, _ = fit(TEXTS, cloud(1, 400))
    strangers = np.linspace(-30, -20, 50)
    threshold = best_threshold(scope, strangers)
    lowest = scope.languages["en"].scaled(scope.languages["en"].genuine).min()
    assert -20 < threshold <= lowest
    with pytest.raises(ValueError):
        best_threshold(scope, np.empty(0))


@given(st.lists(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_log_odds_are_those_of_the_probability(rows: list[list[float]]) -> None:
    logits = np.array(rows)
    for odds, row in zip(log_odds(logits), logits, strict=True):
        shares = np.exp(row - row.max())
        top = int(row.argmax())
        assert odds == pytest.approx(-np.log(np.delete(shares, top).sum()), abs=1e-6)


def test_a_text_says_the_same_alone_and_among_others() -> None:
    scope, ngrams = fit(TEXTS, cloud(1, 400))
    fresh, dense = sayings(1, 700), cloud(6, 700)
    together = scored(scope, ngrams, fresh, dense)
    alone = [scored(scope, ngrams, [fresh[n]], dense[n : n + 1])[0] for n in (0, 1, 499, 500, 699)]
    np.testing.assert_allclose(alone, together[[0, 1, 499, 500, 699]], atol=1e-5)


def test_sparse_similarity_is_the_cosine_of_n_grams() -> None:
    texts = ["我的卡丢了", "查一下余额", "转账没有到"]
    scope, ngrams = fit(texts, cloud(1, 3))
    known = replace(scope.languages["zh"], ngram_share=1.0)
    similarity = known.similarities(cloud(1, 3), ngrams.matrix(texts))
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)
    assert isinstance(known.sparse, sp.csr_matrix)


def test_a_word_that_its_label_never_used_speaks_against_a_text() -> None:
    texts = [f"{'refund' if n % 2 else 'card'} number{n}" for n in range(400)]
    dense = np.eye(8, dtype=np.float32)[np.arange(400) % 2]  # two labels, and the encoder sees nothing else
    scope, ngrams = fit(texts, dense)
    known = scope.languages["en"]
    rows = np.eye(8, dtype=np.float32)[[0, 0]]
    matching, other = scored(scope, ngrams, ["card number", "refund number"], rows)
    assert matching > 0 > other
    # Half of all texts have the word, and all of its label's: its evidence is log 2, but for the prior.
    column, one = np.array([ngrams.vocabulary.index("card")]), np.ones(1, dtype=np.float32)
    assert known.evidence(column, one, 0, itself=False) == pytest.approx(np.log(201 / 202 * 2))
    assert known.evidence(column, one, 0, itself=True) == pytest.approx(np.log(200 * 399 / 199 / 201), abs=1e-4)
    assert known.evidence(column, one, 1, itself=False) == pytest.approx(np.log(2 / 202))
    rare = np.array([ngrams.vocabulary.index("399")])
    assert known.evidence(rare, one, 0, itself=False) == 0
