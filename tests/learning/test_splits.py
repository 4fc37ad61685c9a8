"""Sides are given once: no text ever moves, and the shares come out as stated."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_app.learning.models import Split
from lepton_app.learning.splits import FEWEST_TO_HOLD_OUT, assign

TEXTS = st.dictionaries(st.text("0123456789abcdef", min_size=2, max_size=4), st.sampled_from([None, "a", "b", "c"]))


@given(TEXTS, TEXTS, TEXTS)
def test_adding_texts_and_relabelling_never_moves_one(
    first: dict[str, str | None], added: dict[str, str | None], relabelled: dict[str, str | None]
) -> None:
    sides = dict(assign(first, {}))
    later = assign({**first, **added, **relabelled}, sides)
    assert later.keys() == (added.keys() | relabelled.keys()) - first.keys()
    assert assign({**first, **added, **relabelled}, {**sides, **later}) == {}


@given(TEXTS)
def test_the_order_in_which_texts_came_in_does_not_matter(groups: dict[str, str | None]) -> None:
    assert assign(groups, {}) == assign(dict(reversed(groups.items())), {})


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 60)), max_size=12))
def test_shares_approach_what_is_stated_however_the_texts_arrive(arrivals: list[tuple[int, int]]) -> None:
    groups: dict[str, str | None] = {}
    sides: dict[str, str] = {}
    for number, (name, count) in enumerate(arrivals):
        groups |= {f"{number:02}{n:03}": str(name) for n in range(count)}
        sides |= assign(groups, sides)
    for label in set(groups.values()):
        found = Counter(sides[digest] for digest, own in groups.items() if own == label)
        total = found.total()
        held_out = total - found[Split.TRAIN]
        assert abs(held_out - 0.2 * total) <= 1
        assert abs(found[Split.VALIDATION] - found[Split.HOLDOUT]) <= 1
        assert held_out >= (total >= FEWEST_TO_HOLD_OUT)
        if total < FEWEST_TO_HOLD_OUT:
            assert found[Split.TRAIN] == total
        if total >= 10:
            assert min(found[Split.VALIDATION], found[Split.HOLDOUT]) >= 1


@pytest.mark.parametrize(
    ("texts", "shares"),
    [
        (1, (1, 0, 0)),
        (4, (4, 0, 0)),
        (5, (4, 0, 1)),
        (8, (6, 1, 1)),
        (10, (8, 1, 1)),
        (100, (80, 10, 10)),
    ],
)
def test_a_label_alone_is_split_like_this(texts: int, shares: tuple[int, int, int]) -> None:
    found = Counter(assign({f"{n:03}": "a" for n in range(texts)}, {}).values())
    assert tuple(found[side] for side in (Split.TRAIN, Split.VALIDATION, Split.HOLDOUT)) == shares


def test_many_small_labels_share_their_held_out_texts_between_both_sides() -> None:
    found = Counter(assign({f"{label:02}{n}": str(label) for label in range(50) for n in range(5)}, {}).values())
    assert found == {Split.TRAIN: 200, Split.VALIDATION: 25, Split.HOLDOUT: 25}


def test_a_label_whose_texts_were_all_held_out_under_another_name_learns_the_next_ones() -> None:
    sides = {"a1": "holdout", "a2": "holdout", "a3": "validation"}
    given = assign(dict.fromkeys(("a1", "a2", "a3", "a4", "a5"), "a"), sides)
    assert given == {"a4": Split.TRAIN, "a5": Split.TRAIN}
