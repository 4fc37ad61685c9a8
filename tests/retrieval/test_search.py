"""Search over both arms: filters inside, languages apart, saved and opened the same, damage named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lepton_app.lib import artifacts
from lepton_app.lib.artifacts import ArtifactCorrupt, ArtifactIncompatible, ArtifactMissing
from retrieval.assembly import assemble_index, default_trust, measure_trust
from retrieval.fusion import PRIOR_LEXICAL_WEIGHT, fuse
from retrieval.search import FORMAT_VERSION, KIND, PassageEntry, SearchIndex
from tests.retrieval.conftest import FakeService, Rows, word_row

TEXTS = {
    "en": ["A replacement card costs $8", "Freeze the card in the app", "Loans can be repaid early", "Staff secrets"],
    "zh": ["补办银行卡收取 8 美元", "在 App 里冻结银行卡", "贷款可以提前还清"],
}


def entries(language: str, first: int) -> list[PassageEntry]:
    return [
        PassageEntry(
            id=first + 3 * i,
            article_id=first + i,
            language=language,
            audience="staff" if text.startswith("Staff") else "public",
            heading="",
            text=text,
            start=i,
            end=i + 5,
            body_sha256=f"sha-{language}-{i}",
        )
        for i, text in enumerate(TEXTS[language])
    ]


ENTRIES = [*entries("zh", 100), *entries("en", 1)]


def encode(texts: list[str]) -> Rows:
    return FakeService().encode_sync(texts)


@pytest.fixture(scope="module")
def index() -> SearchIndex:
    rows = encode([entry.full_text for entry in ENTRIES])
    return assemble_index(ENTRIES, rows, rows, encode=encode, encoder_version="words-1", version="v")  # type: ignore[arg-type]


def ask(index: SearchIndex, question: str, **options: object) -> list[int]:
    return [hit.article_id for hit in index.search(question, word_row(question), **options)]  # type: ignore[arg-type]


def test_the_questions_language_decides_where_it_is_looked_up(index: SearchIndex) -> None:
    assert ask(index, "how do I freeze my card")[0] == 2
    assert ask(index, "怎么冻结银行卡")[0] == 101
    assert ask(index, "怎么冻结银行卡", language="en") != ask(index, "怎么冻结银行卡")
    assert ask(index, "freeze", language="fr") == []


def test_a_hit_says_where_it_came_from_and_how_it_scored(index: SearchIndex) -> None:
    hit = index.search("replacement card", word_row("replacement card"))[0]
    assert (hit.passage_id, hit.article_id, hit.start, hit.end, hit.body_sha256) == (1, 1, 0, 5, "sha-en-0")
    assert hit.fused == pytest.approx(
        (1 - PRIOR_LEXICAL_WEIGHT) * hit.dense + PRIOR_LEXICAL_WEIGHT * hit.lexical, abs=1e-6
    )
    assert 0.0 < hit.lexical <= 1.0


def test_hits_come_best_first_and_no_more_than_asked(index: SearchIndex) -> None:
    hits = index.search("card", word_row("card"), limit=2)
    assert len(hits) == 2
    assert hits[0].fused >= hits[1].fused
    assert index.search("card", word_row("card"), limit=0) == []


def test_filters_hold_inside_the_search_and_fail_closed(index: SearchIndex) -> None:
    assert 4 not in ask(index, "staff secrets")
    assert ask(index, "staff secrets", audiences={"staff"}) == [4]
    assert ask(index, "staff secrets", audiences=set()) == []
    assert ask(index, "replacement card", limit=1) == [1]
    assert ask(index, "replacement card", limit=1, excluded_articles={1}) == [2]
    assert ask(index, "card", excluded_articles={1, 2, 3}) == []


def test_saved_and_opened_it_answers_the_same(index: SearchIndex, tmp_path: Path) -> None:
    path = artifacts.publish(tmp_path, kind=KIND, format_version=FORMAT_VERSION, meta=index.about, write=index.save)
    opened = SearchIndex.load(path)
    assert (opened.size, opened.encoder_version, opened.version) == (7, "words-1", path.name)
    for question in ("replacement card", "怎么冻结银行卡", "staff secrets", "xylophone"):
        assert opened.search(question, word_row(question)) == index.search(question, word_row(question))
    assert opened.partitions["zh"].trust == index.partitions["zh"].trust
    assert opened.partitions["en"].calibration == index.partitions["en"].calibration


@pytest.mark.parametrize("name", ["en/vectors.faiss", "en/passages.npz", "zh/vocab.index.json", "zh/idf.npy"])
def test_damage_to_any_file_has_a_name(index: SearchIndex, tmp_path: Path, name: str) -> None:
    path = artifacts.publish(tmp_path, kind=KIND, format_version=FORMAT_VERSION, meta=index.about, write=index.save)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactCorrupt):
        SearchIndex.load(path)
    (path / name).unlink()
    with pytest.raises(ArtifactMissing):
        SearchIndex.load(path)


def test_another_format_and_a_manifest_that_lies_have_names(index: SearchIndex, tmp_path: Path) -> None:
    newer = artifacts.publish(tmp_path, kind=KIND, format_version=99, meta=index.about, write=index.save)
    with pytest.raises(ArtifactIncompatible):
        SearchIndex.load(newer)
    lying = artifacts.publish(
        tmp_path, kind=KIND, format_version=FORMAT_VERSION, meta={"languages": {"fr": {}}}, write=index.save
    )
    with pytest.raises(ArtifactCorrupt, match="no index that can be opened"):
        SearchIndex.load(lying)
    with pytest.raises(ArtifactMissing):
        SearchIndex.load(tmp_path / "nowhere")


def test_an_encoder_that_reads_a_language_is_trusted_and_a_blind_one_is_not() -> None:
    topics = ["card fee", "loan rate", "app login", "cash point", "wire abroad", "tax form", "joint account"]
    topics += ["youth plan", "gold savings", "share order", "paper bill", "lost phone", "new address", "late train"]
    passages = [
        PassageEntry(i, i, "en", "public", "", f"All about {t}. The {t} matters here. More on {t} below.", 0, 1, "x")
        for i, t in enumerate(topics)
    ]
    seeing = measure_trust("en", passages, encode)  # type: ignore[arg-type]
    assert seeing.reads
    assert seeing.queries == 14
    assert seeing.lexical_weight == PRIOR_LEXICAL_WEIGHT

    def blind(texts: list[str]) -> Rows:
        rng = np.random.default_rng(5)
        rows = rng.normal(size=(len(texts), 16)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    unseeing = measure_trust("en", passages, blind)  # type: ignore[arg-type]
    assert not unseeing.reads
    assert unseeing.lexical_weight == 1.0


def test_a_language_with_few_passages_has_the_trust_of_the_default_encoder() -> None:
    assert measure_trust("zh", ENTRIES[:3], encode) == default_trust("zh")  # type: ignore[arg-type]
    assert not default_trust("zh").reads
    assert default_trust("en").reads


def test_where_the_encoder_is_blind_the_words_alone_decide(index: SearchIndex) -> None:
    assert index.partitions["zh"].trust.lexical_weight == 1.0
    for hit in index.search("冻结银行卡", word_row("freeze")):
        assert hit.fused == hit.lexical
    assert fuse(np.array([0.9], np.float32), np.array([0.2], np.float32), 1.0).tolist() == pytest.approx([0.2])


def test_another_language_is_looked_in_only_when_the_encoder_reads_both(index: SearchIndex) -> None:
    assert index.languages_for("en") == ["en"]
    assert index.languages_for("zh") == ["zh"]
    only_english = SearchIndex({"en": index.partitions["en"]}, encoder_version="words-1", version="v")
    assert only_english.languages_for("zh") == ["en"]
    both = SearchIndex(
        {"en": index.partitions["en"], "zh": index.partitions["en"]}, encoder_version="words-1", version="v"
    )
    assert both.languages_for("zh") == ["zh", "en"]
