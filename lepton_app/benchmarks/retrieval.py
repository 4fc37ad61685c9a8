"""Rank passages for questions by meaning, by words and by both, on public collections.

Documents become passages, rows and an index by the very code that serves, in memory and without the database. A
document counts as its best passage. Times are of one question at a time, encoding it included.
"""

from __future__ import annotations

import csv
import json
import math
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import CommandError
from numpy.typing import NDArray

from lepton_app.lib import languages
from lepton_app.lib.encoding import EncoderMissing, encoder_service
from retrieval.answering import Source, compose_answer
from retrieval.assembly import assemble_index, heading_of
from retrieval.calibration import remembering
from retrieval.chunking import chunk_article
from retrieval.models import hash_body, normalise_body
from retrieval.search import PUBLIC, Calibration, Hit, Partition, PassageEntry, SearchIndex

Rows = NDArray[np.float32]
Progress = Callable[[str], None]

ARMS = ("dense", "lexical", "hybrid")
DEPTH = 10
BATCH_TEXTS = 512
# Passages asked for so that ten documents come out also where a document has many passages.
PASSAGES = 60


@dataclass(frozen=True, slots=True)
class Document:
    """What is searched: a title, which may be empty, and a text."""

    title: str
    text: str


@dataclass(slots=True)
class Collection:
    """Documents by their key, and for each question the graded relevance (above 0) of documents."""

    documents: dict[str, Document] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    relevant: list[Mapping[str, float]] = field(default_factory=list)

    def ask(self, question: str, relevant: Mapping[str, float]) -> None:
        """Add a question."""
        self.questions.append(question)
        self.relevant.append(relevant)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the collections, of which exactly one is given."""
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--stackfaq", type=Path, metavar="FILE", help="StackFAQ JSON: rephrasings find their entry")
    one.add_argument("--bankfaq", type=Path, metavar="FILE", help="BankFAQ CSV: questions find their answer's text")
    one.add_argument("--squad", type=Path, metavar="FILE", help="SQuAD JSON: questions find their passage")
    one.add_argument(
        "--beir", type=Path, metavar="DIR", help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv"
    )
    parser.add_argument(
        "--oos", type=Path, metavar="TXT", help="questions that have no answer, one a line: adds refusal_auroc"
    )


def run(options: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Measure and return ``{"dense": {...}, "lexical": {...}, "hybrid": {...}, ...}``; shares in [0, 1]."""
    readers: dict[str, Callable[[Path], Collection]] = {
        "stackfaq": read_stackfaq,
        "bankfaq": read_bankfaq,
        "squad": read_squad,
        "beir": read_beir,
    }
    name = next(name for name in readers if options[name] is not None)
    collection = readers[name](options[name])
    unanswerable = _lines(options["oos"]) if options.get("oos") is not None else []
    progress(f"{len(collection.documents)} documents, {len(collection.questions)} questions")
    if not collection.questions:
        raise CommandError(f"{options[name]} holds no question that one of its documents answers.")
    try:
        service = encoder_service()
    except EncoderMissing as error:
        raise CommandError(str(error)) from error
    encode = service.encode_sync
    started = time.perf_counter()
    index, keys, sources = build(collection.documents, encode, service.encoder.version, progress)
    build_seconds = time.perf_counter() - started
    figures: dict[str, Any] = {}
    for arm in ARMS:
        progress(f"asking: {arm}")
        figures[arm] = measure(index, arm, collection, keys, encode)
    figures["documents"] = len(collection.documents)
    figures["passages"] = index.size
    figures["questions"] = len(collection.questions)
    figures["build_seconds"] = round(build_seconds, 2)
    figures["encoder"] = service.encoder.version
    figures["lexical_weight"] = {name: part.trust.lexical_weight for name, part in index.partitions.items()}
    if unanswerable:
        progress("refusing")
        figures["refusal_auroc"] = refusal_auroc(index, sources, collection.questions, unanswerable, encode)
    return figures


# ------------------------------------------------------------------------------------------------------ the index


def build(
    documents: Mapping[str, Document], encode: Callable[[Sequence[str]], Rows], version: str, progress: Progress
) -> tuple[SearchIndex, list[str], dict[int, Source]]:
    """Index the documents in memory; a document's article id is its place in the returned keys."""
    entries: list[PassageEntry] = []
    sources: dict[int, Source] = {}
    keys = list(documents)
    for number, key in enumerate(keys):
        document = documents[key]
        body = normalise_body(document.text)
        language = languages.detect(f"{document.title} {body}")
        sources[number] = Source(number, document.title, body, hash_body(body), language)
        chunks = chunk_article(body)
        spans = [(chunk.section, chunk.text, chunk.start, chunk.end) for chunk in chunks] or [("", "", 0, 0)]
        for section, text, start, end in spans:
            entries.append(
                PassageEntry(
                    id=len(entries),
                    article_id=number,
                    language=language,
                    audience="public",
                    heading=heading_of(document.title, section),
                    text=text,
                    start=start,
                    end=end,
                    body_sha256=sources[number].body_sha256,
                )
            )
    progress(f"{len(entries)} passages")
    text_rows = _encode_all([entry.full_text for entry in entries], encode, progress)
    headings = {entry.heading: 0 for entry in entries if entry.heading}
    heading_rows = text_rows.copy()
    if headings:
        places = {heading: place for place, heading in enumerate(headings)}
        rows = _encode_all(list(headings), encode, progress)
        for i, entry in enumerate(entries):
            if entry.heading:
                heading_rows[i] = rows[places[entry.heading]]
    index = assemble_index(entries, text_rows, heading_rows, encode=encode, encoder_version=version)
    return index, keys, sources


def _encode_all(texts: Sequence[str], encode: Callable[[Sequence[str]], Rows], progress: Progress) -> Rows:
    parts = []
    for begin in range(0, len(texts), BATCH_TEXTS):
        parts.append(encode(texts[begin : begin + BATCH_TEXTS]))
        progress(f"{min(begin + BATCH_TEXTS, len(texts))} of {len(texts)} texts encoded")
    return np.concatenate(parts)


# --------------------------------------------------------------------------------------------------- the measures


def measure(
    index: SearchIndex,
    arm: str,
    collection: Collection,
    keys: Sequence[str],
    encode: Callable[[Sequence[str]], Rows],
) -> dict[str, float]:
    """Ask every question of one arm and return the mean measures, rounded to 4 digits, and the times."""
    sums = dict.fromkeys(("ndcg_at_10", "recall_at_5", "recall_at_10", "mrr_at_10"), 0.0)
    times: list[float] = []
    for question, relevant in zip(collection.questions, collection.relevant, strict=True):
        started = time.perf_counter()
        row = encode([question])[0] if arm != "lexical" else np.zeros(0, np.float32)
        ranked = [keys[article] for article in rank(index, arm, question, row)]
        times.append((time.perf_counter() - started) * 1000.0)
        sums["ndcg_at_10"] += ndcg(ranked, relevant)
        sums["recall_at_5"] += recall(ranked[:5], relevant)
        sums["recall_at_10"] += recall(ranked, relevant)
        sums["mrr_at_10"] += reciprocal_rank(ranked, relevant)
    count = len(collection.questions)
    figures = {name: round(value / count, 4) for name, value in sums.items()}
    figures["p50_ms"] = round(float(np.percentile(times, 50)), 2)
    figures["p99_ms"] = round(float(np.percentile(times, 99)), 2)
    return figures


def rank(index: SearchIndex, arm: str, question: str, row: Rows) -> list[int]:
    """Return the ten best articles for a question, best first, by one arm or by both.

    A single arm is asked as the search asks it for candidates; over several languages, the question's own comes first.
    """
    best: list[int] = []
    searched = index.languages_for(languages.detect(question)) or list(index.partitions)
    for language in searched:
        partition = index.partitions[language]
        if arm == "hybrid":
            hits = index.search(question, row, language=language, limit=PASSAGES)
            articles = [hit.article_id for hit in hits]
        else:
            articles = _one_arm(partition, arm, question, row)
        best.extend(article for article in dict.fromkeys(articles) if article not in best)
    return best[:DEPTH]


def _one_arm(partition: Partition, arm: str, question: str, row: Rows) -> list[int]:
    if arm == "dense":
        near = partition.vectors.search(row, PASSAGES)
        order = np.argsort(-partition.vectors.similarities(row, near), kind="stable")
        positions = np.searchsorted(partition.keys, near[order])
    else:
        scores = partition.lexical.scores(question)
        positions = np.argsort(-scores, kind="stable")[:PASSAGES]
        positions = positions[scores[positions] > 0.0]
    return [int(article) for article in partition.articles[positions]]


def ndcg(ranked: Sequence[str], relevant: Mapping[str, float]) -> float:
    """Return the normalised discounted cumulative gain of a ranking, linear gains (as trec_eval computes it).

    >>> ndcg(["a", "b"], {"b": 1.0}), ndcg(["b"], {"b": 2.0})
    (0.6309297535714575, 1.0)
    """
    gain = sum(relevant.get(key, 0.0) / math.log2(place + 2) for place, key in enumerate(ranked[:DEPTH]))
    ideal = sorted(relevant.values(), reverse=True)[:DEPTH]
    return gain / sum(value / math.log2(place + 2) for place, value in enumerate(ideal))


def recall(ranked: Sequence[str], relevant: Mapping[str, float]) -> float:
    """Return the share of the relevant documents that were found.

    >>> recall(["a", "b"], {"b": 1.0, "c": 1.0})
    0.5
    """
    return sum(key in relevant for key in ranked) / len(relevant)


def reciprocal_rank(ranked: Sequence[str], relevant: Mapping[str, float]) -> float:
    """Return 1 / rank of the first relevant document, 0 when there is none.

    >>> reciprocal_rank(["a", "b"], {"b": 1.0})
    0.5
    """
    return next((1.0 / (place + 1) for place, key in enumerate(ranked) if key in relevant), 0.0)


def refusal_auroc(
    index: SearchIndex,
    sources: Mapping[int, Source],
    answerable: Sequence[str],
    unanswerable: Sequence[str],
    encode: Callable[[Sequence[str]], Rows],
) -> float:
    """Return how often a question with an answer gets more support than one without; ties count half."""
    embed = remembering(encode)
    supported = np.array([_support(index, sources, question, embed) for question in answerable])
    unsupported = np.sort([_support(index, sources, question, embed) for question in unanswerable])
    below = np.searchsorted(unsupported, supported, side="left")
    not_above = np.searchsorted(unsupported, supported, side="right")
    return round(float(np.mean((below + not_above) / 2.0) / len(unsupported)), 4)


def _support(
    index: SearchIndex, sources: Mapping[int, Source], question: str, encode: Callable[[Sequence[str]], Rows]
) -> float:
    row = encode([question])[0]
    supports = [0.0]
    for language in index.languages_for(languages.detect(question)):
        partition = index.partitions[language]
        hits: list[Hit] = index.search(question, row, language=language, limit=8, audiences=PUBLIC)
        answer = compose_answer(
            question,
            row,
            hits,
            sources,
            weigh=partition.lexical.weights,
            trust=partition.trust,
            calibration=Calibration(0.0, 0.0, 0.0),
            embed=encode,
        )
        supports.append(answer.support)
    return max(supports)


# ----------------------------------------------------------------------------------------------------- the files


def read_stackfaq(path: Path) -> Collection:
    """Read StackFAQ: each rephrasing asks for its entry, which is its question and answers; ``*`` is none."""
    collection = Collection()
    data = _json(path)
    try:
        for number, entry in enumerate(data["root"]["qapair"]):
            answers = entry["answer"] if isinstance(entry["answer"], list) else [entry["answer"]]
            text = "\n\n".join(answer for answer in answers if answer)
            collection.documents[str(number)] = Document((entry["question"] or "").strip(), text)
            for rephrasing in entry["rephr"]:
                if (rephrasing or "").strip() not in {"", "*"}:
                    collection.ask(rephrasing.strip(), {str(number): 1.0})
    except (KeyError, TypeError, AttributeError) as error:
        raise CommandError(
            f"{path} is no StackFAQ file: it needs root.qapair[] with question, answer and rephr ({error!r})."
        ) from error
    return collection


def read_bankfaq(path: Path) -> Collection:
    """Read BankFAQ: each question asks for its answer among the distinct answers."""
    collection = Collection()
    rows = csv.DictReader(_text(path).splitlines(keepends=True))
    if not {"Question", "Answer"} <= set(rows.fieldnames or ()):
        raise CommandError(f"{path} is no BankFAQ file: it needs the columns Question and Answer.")
    for row in rows:
        question, answer = (row["Question"] or "").strip(), (row["Answer"] or "").strip()
        if question and answer:
            collection.documents.setdefault(answer, Document("", answer))
            collection.ask(question, {answer: 1.0})
    return collection


def read_squad(path: Path) -> Collection:
    """Read SQuAD: each question asks for the passage that it was written for; equal passages are one."""
    collection = Collection()
    data = _json(path)
    try:
        for article in data["data"]:
            for paragraph in article["paragraphs"]:
                passage = paragraph["context"].strip()
                collection.documents.setdefault(passage, Document("", passage))
                for asked in paragraph["qas"]:
                    if asked["question"].strip():
                        collection.ask(asked["question"].strip(), {passage: 1.0})
    except (KeyError, TypeError, AttributeError) as error:
        raise CommandError(
            f"{path} is no SQuAD file: it needs data[].paragraphs[] with context and qas[].question ({error!r})."
        ) from error
    return collection


def read_beir(folder: Path) -> Collection:
    """Read a BEIR folder; questions without a relevant document in the corpus are left out."""
    collection = Collection()
    try:
        for line in _text(folder / "corpus.jsonl").splitlines():
            if line.strip():
                record = json.loads(line)
                text = str(record.get("text") or "")
                collection.documents[str(record["_id"])] = Document(str(record.get("title") or "").strip(), text)
        questions: dict[str, str] = {}
        for line in _text(folder / "queries.jsonl").splitlines():
            if line.strip():
                record = json.loads(line)
                questions[str(record["_id"])] = str(record["text"])
        relevant: dict[str, dict[str, float]] = {}
        for number, line in enumerate(_text(folder / "qrels" / "test.tsv").splitlines()):
            if number and line.strip():
                question, document, grade = line.split("\t")
                if float(grade) > 0 and document in collection.documents:
                    relevant.setdefault(question, {})[document] = float(grade)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CommandError(
            f"{folder} is no BEIR folder: corpus.jsonl needs _id, title and text, queries.jsonl _id and text, and "
            f"qrels/test.tsv a header and three columns with tabs between ({error!r})."
        ) from error
    for key, grades in relevant.items():
        if key in questions:
            collection.ask(questions[key], grades)
    return collection


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if not lines:
        raise CommandError(f"{path} holds no question: it needs one a line.")
    return lines


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise CommandError(f"{path} is no JSON: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8 (byte {error.start}).") from error
