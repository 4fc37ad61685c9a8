from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lepton_app.learning.classifier import LinearClassifier
from lepton_app.learning.errors import NothingToLearn
from lepton_app.learning.features import Floats, Ngrams, Weights
from lepton_app.learning.linear import LinearConfig, fit_dense, fit_linear, minimise
from lepton_app.learning.scope import best_threshold

OPENINGS = ("please", "hello", "hi there", "hey", "quick question", "sorry", "um", "listen", "excuse me", "so")
CORES = {
    "card.lost": ("i lost my card", "my card is gone", "card was stolen"),
    "card.arrival": ("where is my new card", "the card has not come", "when will it arrive"),
    "balance": ("how much money do i have", "show my balance", "balance please"),
    "余额": ("我的余额是多少", "查一下余额", "账户里还有多少钱"),
}
TEXTS = [f"{opening} {core}" for cores in CORES.values() for core in cores for opening in OPENINGS]
LABELS = [label for label, cores in CORES.items() for core in cores for opening in OPENINGS]


def embed(texts: list[str]) -> Floats:
    """Stand in for the encoder: hashed bags of words on 32 dimensions, unit rows; nearly blind to Chinese."""
    rows = np.full((len(texts), 32), 0.01, dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.split():
            if word.isascii():
                rows[row, sum(map(ord, word)) * 7 % 32] += 1
    normed: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normed


@pytest.fixture(scope="module")
def classifier() -> LinearClassifier:
    return fit_linear(TEXTS, LABELS, embed(TEXTS), encoder_version="toy-1")


def test_a_separable_toy_is_learnt(classifier: LinearClassifier) -> None:
    questions = ["good day i lost my card", "oh where is my new card", "show my balance now", "帮我查余额"]
    predictions = classifier.predict(questions, embed(questions))
    assert [prediction.labels[0] for prediction in predictions] == ["card.lost", "card.arrival", "balance", "余额"]
    for prediction in predictions:
        assert sorted(prediction.labels) == sorted(CORES)
        assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
        assert sum(prediction.probabilities) == pytest.approx(1)
    assert (classifier.encoder_version, classifier.version) == ("toy-1", "")
    assert classifier.labels == tuple(sorted(CORES))


def test_the_weights_are_those_of_scikit_learn() -> None:
    embeddings = embed(TEXTS)
    config = LinearConfig(inverse_regularisation=3.0, tolerance=1e-6, iterations=2000, least_texts=1)
    ours = fit_linear(TEXTS, LABELS, embeddings, encoder_version="toy-1", config=config)
    targets = np.unique(LABELS, return_inverse=True)[1]
    sparse = Ngrams.learn(TEXTS, targets=targets).matrix(TEXTS).toarray()
    scale = np.array([config.weights.of(text) for text in TEXTS])
    rows = np.hstack([embeddings * scale[:, :1], sparse * scale[:, 1:]])
    reference = LogisticRegression(C=3.0, max_iter=5000, tol=1e-8).fit(rows, LABELS)
    logits = np.log(ours.probabilities(TEXTS, embeddings)) * ours.temperature
    theirs = np.log(reference.predict_proba(rows))
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(np.exp(logits), np.exp(theirs), atol=2e-3)


def test_the_same_rows_give_the_same_classifier(classifier: LinearClassifier) -> None:
    again = fit_linear(TEXTS, LABELS, embed(TEXTS), encoder_version="toy-1")
    assert again.predict(TEXTS[:9], embed(TEXTS[:9])) == classifier.predict(TEXTS[:9], embed(TEXTS[:9]))


def test_what_was_never_taught_is_out_of_scope(classifier: LinearClassifier) -> None:
    strangers = ["boil rice twenty minutes", "thunder over quiet mountains", "今天天气怎么样", "附近的电影院"]
    assert [prediction.in_scope for prediction in classifier.predict(strangers, embed(strangers))] == [False] * 4
    refused = np.mean([not prediction.in_scope for prediction in classifier.predict(TEXTS, embed(TEXTS))])
    assert refused <= 0.1


@pytest.mark.parametrize(
    ("texts", "labels", "reason"),
    [([], [], "no labelled texts"), (["a", "b"], ["one", "one"], "all 2 texts have the label 'one'")],
)
def test_too_little_to_learn_is_refused(texts: list[str], labels: list[str], reason: str) -> None:
    with pytest.raises(NothingToLearn, match=reason):
        fit_linear(texts, labels, embed(texts), encoder_version="toy-1")


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError):
        fit_linear(["a", "b"], ["x"], embed(["a", "b"]), encoder_version="toy-1")
    with pytest.raises(ValueError):
        fit_linear(["a", "b"], ["x", "y"], embed(["a"]), encoder_version="toy-1")


def test_contradictory_and_repeated_texts_share_their_probability() -> None:
    texts = [*TEXTS, *["block my card now"] * 8]
    labels = [*LABELS, *["card.lost", "card.arrival"] * 4]
    classifier = fit_linear(texts, labels, embed(texts), encoder_version="toy-1")
    (prediction,) = classifier.predict(["Block my card  now"], embed(["block my card now"]))
    top = dict(zip(prediction.labels, prediction.probabilities, strict=True))
    assert set(prediction.labels[:2]) == {"card.lost", "card.arrival"}
    assert top["card.lost"] == pytest.approx(top["card.arrival"], abs=0.2)
    assert classifier.meta["contradictory_texts"] == 1
    assert (classifier.meta["texts"], classifier.meta["different_texts"]) == (128, 121)


def test_two_texts_are_enough_to_stand() -> None:
    classifier = fit_linear(["a card", "some money"], ["x", "y"], embed(["a card", "some money"]), encoder_version="t")
    predictions = classifier.predict(["a card", "", "👍", "卡"], embed(["a card", "", "👍", "卡"]))
    assert predictions[0].labels[0] == "x"
    assert all(np.isfinite(prediction.scope_score) for prediction in predictions)
    assert classifier.temperature == 1.0


def test_a_text_that_the_encoder_learnt_by_heart_sets_no_scale() -> None:
    """Rows of tuned texts stand exactly on their label's corner; those of texts to come lie around it."""
    generator = np.random.default_rng(3)
    corners = np.eye(8, dtype=np.float32)[:4]

    def around(number: int, noise: float) -> tuple[list[str], list[str], Floats]:
        targets = np.arange(number) % 4
        rows = corners[targets] + generator.normal(scale=noise, size=(number, 8)).astype(np.float32)
        words = [f"w{value}" for value in generator.integers(0, 10**9, number)]
        return words, [f"label{target}" for target in targets], rows / np.linalg.norm(rows, axis=1, keepdims=True)

    learnt, new, fresh = around(400, 0.01), around(100, 0.25), around(2000, 0.25)
    texts, labels = learnt[0] + new[0], learnt[1] + new[1]
    rows = np.concatenate([learnt[2], new[2]])
    unseen = np.arange(500) >= 400
    careful = fit_linear(texts, labels, rows, encoder_version="toy-1", unseen=unseen)
    careless = fit_linear(texts, labels, rows, encoder_version="toy-1", unseen=np.zeros(500, dtype=bool))
    refused = [
        np.mean([not one.in_scope for one in model.predict(fresh[0], fresh[2])]) for model in (careful, careless)
    ]
    assert refused[0] == pytest.approx(0.05, abs=0.05)
    assert refused[1] > refused[0] + 0.1
    assert careful.meta["held_out"] == 100
    with pytest.raises(ValueError, match="unseen"):
        fit_linear(texts, labels, rows, encoder_version="toy-1", unseen=unseen[:-1])


def test_unseen_copies_of_learnt_texts_judge_nothing() -> None:
    texts, labels = [*TEXTS, *(f"{text}!" for text in TEXTS)], LABELS * 2
    unseen = np.arange(len(texts)) >= len(TEXTS)
    classifier = fit_linear(texts, labels, embed(texts), encoder_version="toy-1", unseen=unseen)
    assert classifier.meta["held_out"] == 0


def test_texts_without_a_label_move_the_threshold_from_twenty_on(classifier: LinearClassifier) -> None:
    near = [f"{opening} sell my card balance" for opening in (*OPENINGS, *(f"{word} then" for word in OPENINGS))]
    few = fit_linear(TEXTS, LABELS, embed(TEXTS), encoder_version="toy-1", out_of_scope=(near[:19], embed(near[:19])))
    many = fit_linear(TEXTS, LABELS, embed(TEXTS), encoder_version="toy-1", out_of_scope=(near, embed(near)))
    assert few.threshold == classifier.threshold == 0
    assert many.threshold == best_threshold(many.scope, many.scope_scores(near, embed(near)))
    assert many.threshold != 0
    assert many.meta["out_of_scope_texts"] == 20
    with pytest.raises(ValueError, match="row"):
        fit_linear(TEXTS, LABELS, embed(TEXTS), encoder_version="toy-1", out_of_scope=(near, embed(near[:3])))


def test_a_label_with_one_text_is_learnt_all_the_same() -> None:
    texts, labels = [*TEXTS, "open the vault"], [*LABELS, "vault"]
    classifier = fit_linear(texts, labels, embed(texts), encoder_version="toy-1")
    assert classifier.predict(["open the vault"], embed(["open the vault"]))[0].labels[0] == "vault"


@pytest.mark.parametrize(
    "change",
    [
        {"inverse_regularisation": 0},
        {"false_refusals": 0.5},
        {"false_refusals": -0.1},
        {"folds": 1},
        {"neighbours": 0},
        {"iterations": 0},
    ],
)
def test_a_configuration_out_of_range_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        LinearConfig(**change)  # type: ignore[arg-type]


def test_a_configuration_does_not_change() -> None:
    config = LinearConfig(weights=Weights(dense_zh=1.0))
    with pytest.raises(FrozenInstanceError):
        config.seed = 2  # type: ignore[misc]


def test_minimise_finds_the_least_of_a_stretched_bowl() -> None:
    scale = np.array([1.0, 10.0, 100.0], dtype=np.float32)
    goal = np.array([1.0, -2.0, 0.5], dtype=np.float32)

    def bowl(point: Floats) -> tuple[float, Floats]:
        away = point - goal
        return float(0.5 * (scale * away * away).sum()), (scale * away).astype(np.float32)

    found = minimise(bowl, np.zeros(3, dtype=np.float32), tolerance=1e-5, iterations=100)
    np.testing.assert_allclose(found, goal, atol=1e-4)


def test_a_fit_without_ngrams_tells_labels_apart() -> None:
    generator = np.random.default_rng(4)
    centres = np.eye(3, 8, dtype=np.float32)
    targets = np.arange(60) % 3
    rows = (centres[targets] + 0.1 * generator.standard_normal((60, 8))).astype(np.float32)
    weight, bias = fit_dense(rows, targets, 3)
    assert weight.shape == (3, 8)
    assert bias.shape == (3,)
    assert ((rows @ weight.T + bias).argmax(axis=1) == targets).all()
