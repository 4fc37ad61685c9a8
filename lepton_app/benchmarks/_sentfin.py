"""Reading SEntFiN: financial headlines, with the sentiment stated for each entity that they name.

The file is CSV with the columns ``Title`` and ``Decisions``; a decision is a mapping of entities to sentiments, written
as a Python literal. Thirteen rows of the published file have an unescaped apostrophe and are left out. In some names
the published file has words of trading replaced by sentiments, within words as well (*Holdings* became *neutralings*);
a name is put right where the headline itself says how it should read.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from django.core.management.base import CommandError

from lepton_app.benchmarks._inputs import read_text
from lepton_app.learning.datasets import Part
from lepton_app.learning.texts import about, normalise

SENTIMENTS = ("negative", "neutral", "positive")
_SIDES = ("holdout", "validation", *["train"] * 8)
_REPLACED = (("neutral", "hold"), ("Neutral", "Hold"), ("negative", "sell"), ("positive", "buy"))


@dataclass(frozen=True)
class Headline:
    """A headline with its entities and what it says of each, in the file's order."""

    title: str
    sentiments: tuple[tuple[str, str], ...]

    @property
    def side(self) -> str:
        """``train`` (eight tenths), ``validation`` or ``holdout``, by a hash of the normalised title."""
        return _SIDES[int(hashlib.sha256(normalise(self.title).encode()).hexdigest()[:8], 16) % len(_SIDES)]


def read_sentfin(path: Path) -> list[Headline]:
    """Return the headlines of SEntFiN's own file; rows whose decisions cannot be read are left out.

    Raises ``CommandError`` when the file is another one.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if not {"Title", "Decisions"} <= set(reader.fieldnames or ()):
        raise CommandError(f"{path} has no columns Title and Decisions. Give SEntFiN.csv as it is published.")
    found = []
    for row in reader:
        try:
            decisions = ast.literal_eval(row["Decisions"] or "")
        except (ValueError, SyntaxError):
            continue
        if not isinstance(decisions, dict) or not set(decisions.values()) <= set(SENTIMENTS):
            continue
        title = row["Title"].strip()
        found.append(Headline(title, tuple((put_right(title, name), said) for name, said in decisions.items())))
    if not found:
        raise CommandError(f"{path} has no row that can be read. Give SEntFiN.csv as it is published.")
    return found


def put_right(title: str, entity: str) -> str:
    """Return an entity as the headline writes it, where a sentiment stands in its name for a word of trading.

    >>> put_right("IIFL Holdings surges on open offer", "IIFL neutralings")
    'IIFL Holdings'
    >>> put_right("Gold up", "gold"), put_right("Gold up", "neutral bonds")
    ('gold', 'neutral bonds')
    """
    low = title.lower()
    if entity.lower() in low:
        return entity
    for wrong, right in _REPLACED:
        name = entity.replace(wrong, right)
        if name != entity and name.lower() in low:
            start = low.index(name.lower())
            return title[start : start + len(name)]
    return entity


def part_of(headlines: list[Headline], side: str, *, without_entity: int = 0) -> Part:
    """Return the rows of one side, one for each entity, written as the encoder reads them.

    A share of one in ``without_entity`` of the headlines that say the same of all their entities has its first row
    without an entity, so that a classifier meets such texts as well; 0 leaves all entities.
    """
    texts, labels = [], []
    for headline in headlines:
        if headline.side != side:
            continue
        digest = int(hashlib.sha256(normalise(headline.title).encode()).hexdigest()[8:16], 16)
        agree = len({said for _, said in headline.sentiments}) == 1
        bare = agree and without_entity > 0 and digest % without_entity == 0
        for place, (entity, said) in enumerate(headline.sentiments):
            texts.append(about(headline.title, "" if bare and place == 0 else entity))
            labels.append(said)
    return Part(tuple(texts), tuple(labels))
