"""Set the support from which an index answers, for a stated rate of wrong answers.

The procedure, for each language, on the very search and answer that serve:

1. Everyday questions that no help page answers are asked (`retrieval.out_of_domain`). The threshold is where all but
   5 % of them are refused.
2. The passages' own headings are asked. At least 95 % of them must keep an answer: where the everyday questions of
   step 1 are the company's business after all, the threshold yields to them.
3. The threshold stays within fixed bounds, for either sample can be small or odd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.answering import Source, compose_answer
from retrieval.out_of_domain import QUESTIONS
from retrieval.search import Calibration, Partition, PassageEntry

Rows = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Rows]

WRONG_ANSWER_RATE = 0.05
LOWEST_THRESHOLD = 0.3
HIGHEST_THRESHOLD = 0.6
MOST_HEADINGS = 64
_SEED = 21


def calibrate(
    partition: Partition, entries: Sequence[PassageEntry], sources: Mapping[int, Source], encode: Encode
) -> Calibration:
    """Return the calibrated threshold of one language; ``encode`` embeds the questions and sentences."""
    embed = remembering(encode)

    def supports(questions: Sequence[str]) -> NDArray[np.float64]:
        asked = zip(questions, encode(questions), strict=True)
        return np.array([_support(partition, sources, question, row, embed) for question, row in asked])

    headings = list(dict.fromkeys(entry.heading for entry in entries if entry.heading))
    order = np.random.default_rng(_SEED).permutation(len(headings))[:MOST_HEADINGS]
    asked = [headings[i] for i in order]
    unanswerable = supports(QUESTIONS.get(partition.language, QUESTIONS["en"]))
    answerable = supports(asked) if asked else np.ones(1)
    threshold = choose_threshold(answerable, unanswerable)
    return Calibration(
        threshold=threshold,
        wrong_answer_rate=round(float(np.mean(unanswerable >= threshold)), 4),
        answered_rate=round(float(np.mean(answerable >= threshold)), 4),
    )


def remembering(encode: Encode) -> Encode:
    """Return ``encode`` with a memory: many questions are answered from the same sentences."""
    remembered: dict[str, Rows] = {}

    def embed(texts: Sequence[str]) -> Rows:
        unknown = [text for text in dict.fromkeys(texts) if text not in remembered]
        if unknown:
            remembered.update(zip(unknown, encode(unknown), strict=True))
        return np.stack([remembered[text] for text in texts])

    return embed


def choose_threshold(answerable: NDArray[np.float64], unanswerable: NDArray[np.float64]) -> float:
    """Return the threshold for the supports of questions that have an answer and of questions that have none.

    >>> choose_threshold(np.array([0.8, 0.9]), np.linspace(0.0, 0.4, 101))
    0.38
    >>> choose_threshold(np.array([0.8, 0.9]), np.array([0.1]))
    0.3
    >>> choose_threshold(np.array([0.45, 0.5]), np.array([0.7]))
    0.4525
    """
    strict = float(np.quantile(unanswerable, 1.0 - WRONG_ANSWER_RATE))
    yielding = float(np.quantile(answerable, 0.05))
    return round(min(max(min(strict, yielding), LOWEST_THRESHOLD), HIGHEST_THRESHOLD), 4)


def _support(partition: Partition, sources: Mapping[int, Source], question: str, row: Rows, embed: Encode) -> float:
    audiences = frozenset(partition.audiences.tolist())
    hits = partition.search(question, row, limit=8, audiences=audiences, excluded=frozenset())
    answer = compose_answer(
        question,
        row,
        hits,
        sources,
        weigh=partition.lexical.weights,
        trust=partition.trust,
        calibration=Calibration(0.0, 0.0, 0.0),
        embed=embed,
    )
    return answer.support
