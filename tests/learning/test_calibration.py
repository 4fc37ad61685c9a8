from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax as reference_softmax
from sklearn.metrics import log_loss

from lepton_app.learning.calibration import fit_temperature, softmax, stratified_folds
from lepton_app.learning.texts import normalise

ROWS = st.lists(st.tuples(st.sampled_from(["a", "A", "b", "B ", "c", "d", "e"]), st.sampled_from("xyz")), max_size=40)


@given(ROWS, st.integers(2, 5), st.integers(0, 3))
def test_no_text_is_on_both_sides(rows: list[tuple[str, str]], folds: int, seed: int) -> None:
    texts, labels = [row[0] for row in rows], [row[1] for row in rows]
    fold_of = stratified_folds(texts, labels, folds=folds, seed=seed)
    assert fold_of.shape == (len(rows),)
    assert set(fold_of.tolist()) <= set(range(-1, folds))
    where: dict[str, set[int]] = {}
    for text, fold in zip(texts, fold_of.tolist(), strict=True):
        where.setdefault(normalise(text), set()).add(fold)
    assert all(len(found) == 1 for found in where.values())


def test_labels_are_spread_evenly() -> None:
    texts = [f"text {n}" for n in range(103)]
    labels = ["big"] * 60 + ["middle"] * 35 + ["small"] * 7 + ["single"]
    fold_of = stratified_folds(texts, labels, folds=5, seed=1)
    for label in ("big", "middle", "small"):
        counts = np.bincount([fold for fold, own in zip(fold_of, labels, strict=True) if own == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert fold_of[-1] == -1
    assert (fold_of == stratified_folds(texts, labels, folds=5, seed=1)).all()
    assert (fold_of != stratified_folds(texts, labels, folds=5, seed=2)).any()


def test_one_fold_is_no_split() -> None:
    with pytest.raises(ValueError):
        stratified_folds(["a"], ["x"], folds=1, seed=0)


def test_softmax_is_that_of_scipy_and_bears_huge_logits() -> None:
    logits = np.array([[1e4, 0.0, -1e4], [0.1, 0.2, 0.3]])
    np.testing.assert_allclose(softmax(logits), reference_softmax(logits, axis=1))
    np.testing.assert_allclose(softmax(logits, temperature=2.5), reference_softmax(logits / 2.5, axis=1))


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true_temperature: float) -> None:
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(20_000, 4)) * 2
    probabilities = softmax(logits, temperature=true_temperature)
    targets = (probabilities.cumsum(axis=1) < generator.random((len(logits), 1))).sum(axis=1)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(true_temperature, rel=0.06)
    at_found = log_loss(targets, softmax(logits, temperature=found))
    for other in (found * 0.9, found * 1.1):
        assert at_found <= log_loss(targets, softmax(logits, temperature=other))


def test_without_held_out_rows_the_temperature_is_one() -> None:
    assert fit_temperature(np.empty((0, 3)), np.empty(0, dtype=np.int64)) == 1.0
