"""Batches cover what they must, pad little, and follow from the seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lepton_app.learning.tuning.batches import by_label, by_length

SEEDS = st.integers(0, 1000)


@given(lengths=st.lists(st.integers(1, 60), max_size=300), size=st.integers(1, 40), seed=SEEDS)
def test_batches_by_length_hold_each_text_once(lengths: list[int], size: int, seed: int) -> None:
    batches = by_length(lengths, size=size, seed=seed)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert batches == by_length(lengths, size=size, seed=seed)


def test_batches_by_length_pad_little() -> None:
    lengths = [3 + (place * 37) % 50 for place in range(2000)]
    cells = sum(len(batch) * max(lengths[place] for place in batch) for batch in by_length(lengths, size=32, seed=5))
    assert cells < 1.1 * sum(lengths)
    in_order = sum(32 * max(lengths[start : start + 32]) for start in range(0, 2000, 32))
    assert cells < 0.6 * in_order


def test_another_epoch_has_other_batches() -> None:
    lengths = list(range(1, 101))
    assert by_length(lengths, size=10, seed=1) != by_length(lengths, size=10, seed=2)


@given(
    targets=st.lists(st.integers(0, 7), min_size=2, max_size=80).filter(lambda found: len(set(found)) > 1),
    size=st.integers(4, 64),
    texts_per_label=st.integers(2, 8),
    seed=SEEDS,
)
def test_batches_by_label_are_of_several_labels(targets: list[int], size: int, texts_per_label: int, seed: int) -> None:
    for batch in by_label(targets, size=size, texts_per_label=texts_per_label, seed=seed):
        assert len(set(batch)) == len(batch), "a text meets itself"
        counts = Counter(targets[place] for place in batch)
        assert 2 <= len(counts) <= max(2, size // texts_per_label)
        assert max(counts.values()) <= texts_per_label


def test_batches_by_label_come_round_to_every_text() -> None:
    targets = [place % 5 for place in range(50)]
    batches = by_label(targets, size=20, texts_per_label=4, seed=0)
    again = [by_label(targets, size=20, texts_per_label=4, seed=seed) for seed in range(12)]
    assert len(batches) == 3
    assert {place for found in again for batch in found for place in batch} == set(range(50))
