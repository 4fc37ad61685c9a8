"""Which side of the split each text is on: decided once, when the text is first met, and never again. Pure.

Of each label about 80 % of the texts are learnt, 10 % steer the learning and 10 % measure it. A label's first four
texts are learnt; from the fifth on it has texts on the other sides. New texts are looked at in the order of their
digests, so that the same texts get the same sides whichever way they came in:

1. the text is held out where its label lacks more held-out texts than texts to learn, measured against 20 and 80 %;
2. a held-out text goes to the side, validation or hold-out, on which its label has fewer;
3. where both have the same, to the side on which the whole task has fewer, and else to the hold-out: with many labels
   of five texts each, half of them have their fifth text here and half of them there.

Texts that belong to no label are a group of their own, split in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lepton_app.learning.models import Split

HELD_OUT_SHARE = 0.2  # half of it steers, half of it measures
FEWEST_TO_HOLD_OUT = 5  # texts of a label


def assign(groups: Mapping[str, str | None], sides: Mapping[str, str]) -> dict[str, Split]:
    """Return the side of each text that has none yet.

    ``groups`` maps the digest of every text to its label, or to None where it belongs to none; ``sides`` maps digests
    to the sides that were given before, and may name texts that are gone.

    >>> new = assign({f"{n:02}": "fees" for n in range(20)}, {})
    >>> [sum(side == wanted for side in new.values()) for wanted in ("train", "validation", "holdout")]
    [16, 2, 2]
    >>> assign({"a": "fees", "b": "fees"}, {"a": "holdout"})
    {'b': Split.TRAIN}
    """
    of_label: dict[str | None, Counter[str]] = {}
    of_task: Counter[str] = Counter()
    for digest, label in groups.items():
        counts = of_label.setdefault(label, Counter())
        if digest in sides:
            counts[sides[digest]] += 1
            of_task[sides[digest]] += 1
    given: dict[str, Split] = {}
    for digest in sorted(groups.keys() - sides.keys()):
        counts = of_label[groups[digest]]
        side = _next_side(counts, of_task)
        given[digest] = side
        counts[side] += 1
        of_task[side] += 1
    return given


def _next_side(of_label: Mapping[str, int], of_task: Mapping[str, int]) -> Split:
    """Return the side of one more text, given how many texts its label and its task have on each side."""
    learnt = of_label.get(Split.TRAIN, 0)
    steering, measuring = of_label.get(Split.VALIDATION, 0), of_label.get(Split.HOLDOUT, 0)
    total = learnt + steering + measuring + 1
    lacking_learnt = (1 - HELD_OUT_SHARE) * total - learnt
    lacking_held_out = HELD_OUT_SHARE * total - steering - measuring
    if total < FEWEST_TO_HOLD_OUT or lacking_learnt >= lacking_held_out:
        return Split.TRAIN
    if steering != measuring:
        return Split.VALIDATION if steering < measuring else Split.HOLDOUT
    return Split.VALIDATION if of_task.get(Split.VALIDATION, 0) < of_task.get(Split.HOLDOUT, 0) else Split.HOLDOUT
