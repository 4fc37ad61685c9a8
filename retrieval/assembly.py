"""Make a `SearchIndex` of passages and their rows, and measure on these passages what the index may be trusted with.

No database and no file is touched here: the index builder and the benchmark assemble by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lepton_app.lib.languages import has_cjk
from retrieval.answering import Source
from retrieval.calibration import calibrate
from retrieval.fusion import PRIOR_LEXICAL_WEIGHT, Trust, lexical_weight, mean_reciprocal_rank
from retrieval.lexical import LexicalIndex
from retrieval.search import Calibration, Partition, PassageEntry, SearchIndex
from retrieval.sentences import split_sentences

Rows = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Rows]

MOST_PROBES = 96
LEAST_PROBES = 12
_SEED = 20  # the choice of probes is the same in every build of the same passages


def assemble_index(
    entries: Sequence[PassageEntry],
    text_rows: Rows,
    heading_rows: Rows,
    *,
    encode: Encode,
    encoder_version: str,
    version: str = "",
    sources: Mapping[int, Source] | None = None,
) -> SearchIndex:
    """Index the passages, whose ``(n, d)`` unit rows stand in the same order; ``encode`` embeds the probes.

    The refusal threshold is calibrated on ``sources``, the passages' articles by id; without them it is a default.
    """
    partitions: dict[str, Partition] = {}
    for language in sorted({entry.language for entry in entries}):
        chosen = [i for i, entry in enumerate(entries) if entry.language == language]
        own = [entries[i] for i in chosen]
        trust = measure_trust(language, own, encode)
        partition = Partition.build(
            language,
            own,
            text_rows[chosen],
            heading_rows[chosen],
            trust=trust,
            calibration=Calibration.uncalibrated(),
        )
        if sources is not None:
            partition.calibration = calibrate(partition, own, sources, encode)
        partitions[language] = partition
    return SearchIndex(partitions, encoder_version=encoder_version, version=version)


def default_trust(language: str) -> Trust:
    """Return the trust of a language with too few passages to measure: the default encoder is English."""
    return Trust(1.0 if language == "zh" else PRIOR_LEXICAL_WEIGHT, 0.0, 0.0, 0)


def measure_trust(language: str, entries: Sequence[PassageEntry], encode: Encode) -> Trust:
    """Measure how well each arm finds a passage again from a sentence that was taken out of it.

    This is the inverse cloze task (https://arxiv.org/abs/1906.00300): with the sentence gone from the passage, words
    in common help no more than they do for real questions. At most 96 passages of two sentences and more are probed.
    """
    probes: list[tuple[str, str]] = []
    for i in np.random.default_rng(_SEED).permutation(len(entries)):
        text = entries[i].text
        spans = split_sentences(text)
        if len(spans) >= 2:
            start, end = spans[len(spans) // 2]
            probes.append((text[start:end], f"{text[:start]} {text[end:]}"))
        if len(probes) == MOST_PROBES:
            break
    if len(probes) < LEAST_PROBES:
        return default_trust(language)
    rows = encode([text for probe in probes for text in probe])
    targets = np.arange(len(probes))
    lexical = LexicalIndex.build([rest for _, rest in probes])
    dense_mrr = mean_reciprocal_rank(rows[0::2] @ rows[1::2].T, targets)
    lexical_mrr = mean_reciprocal_rank(np.stack([lexical.scores(sentence) for sentence, _ in probes]), targets)
    return Trust(lexical_weight(dense_mrr, lexical_mrr), round(dense_mrr, 4), round(lexical_mrr, 4), len(probes))


def heading_of(title: str, section: str) -> str:
    """Return what stands over a passage: the title and the sections below it.

    >>> heading_of("Cards", "Cards > Fees"), heading_of("Cards", "")
    ('Cards: Fees', 'Cards')
    """
    sections = [part for part in section.split(" > ") if part and part != title]
    if not sections:
        return title
    colon = "：" if has_cjk(title + sections[-1]) else ": "
    return colon.join((title, *sections)) if title else colon.join(sections)
