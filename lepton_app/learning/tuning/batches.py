"""Which texts make a batch: those of like length, so that little is padded, or some texts of each of a few labels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

_POOL_BATCHES = 50  # texts are sorted by length within so many batches: nearly no padding, and still random company


def by_length(lengths: Sequence[int], *, size: int, seed: int) -> list[list[int]]:
    """Return batches of ``size`` places that cover all texts once, each of texts of like length, in random order.

    >>> sorted(map(sorted, by_length([9, 1, 8, 2], size=2, seed=0)))
    [[0, 2], [1, 3]]
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(lengths)).tolist()
    batches: list[list[int]] = []
    for start in range(0, len(order), size * _POOL_BATCHES):
        pool = sorted(order[start : start + size * _POOL_BATCHES], key=lengths.__getitem__)
        batches += [pool[first : first + size] for first in range(0, len(pool), size)]
    generator.shuffle(batches)
    return batches


def by_label(targets: Sequence[int], *, size: int, texts_per_label: int, seed: int) -> list[list[int]]:
    """Return about ``n / size`` batches, each of ``texts_per_label`` texts of as many labels as fit.

    A label with fewer texts gives those that it has. Every text is drawn before any of its label is drawn again.

    >>> [len(batch) for batch in by_label([0, 0, 1, 1], size=4, texts_per_label=2, seed=0)]
    [4]
    """
    generator = np.random.default_rng(seed)
    places: dict[int, list[int]] = defaultdict(list)
    for place, target in enumerate(targets):
        places[target].append(place)
    names = sorted(places)
    left: dict[int, list[int]] = {name: [] for name in names}
    labels_a_batch = max(2, min(size // texts_per_label, len(names)))
    wanted = max(1, math.ceil(len(targets) / (labels_a_batch * texts_per_label)))
    shuffled: list[int] = []
    batches = []
    for _ in range(wanted):
        chosen: list[int] = []
        while len(chosen) < labels_a_batch:
            if not shuffled:
                shuffled = generator.permutation(names).tolist()
            name = shuffled.pop()
            if name not in chosen:
                chosen.append(name)
        batch = []
        for name in chosen:
            for _ in range(texts_per_label):
                if not left[name]:
                    left[name] = generator.permutation(places[name]).tolist()
                if left[name][-1] not in batch:
                    batch.append(left[name].pop())
        batches.append(batch)
    return batches
