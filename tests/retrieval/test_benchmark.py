"""The benchmark: reads each collection, tells what is wrong with a file, and ranks by the code that serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError

from lepton_app.benchmarks import retrieval as benchmark
from tests.retrieval.conftest import FakeService

NONE = {"stackfaq": None, "bankfaq": None, "squad": None, "beir": None, "oos": None}


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    service = FakeService()
    monkeypatch.setattr(benchmark, "encoder_service", lambda: service)


def run(**options: Any) -> dict[str, Any]:
    return benchmark.run({**NONE, **options}, lambda line: None)


@pytest.fixture
def stackfaq(tmp_path: Path) -> Path:
    pairs = [
        {"question": "Strike text", "rephr": ["strike my text", "*", "", None], "answer": ["Use tildes.", "Or a tag."]},
        {"question": "Bold text", "rephr": ["bold my text"], "answer": "Use stars."},
    ]
    path = tmp_path / "stack.json"
    path.write_text(json.dumps({"root": {"qapair": pairs}}))
    return path


def test_stackfaq_figures(stackfaq: Path) -> None:
    figures = run(stackfaq=stackfaq)
    assert (figures["documents"], figures["questions"]) == (2, 2)
    for arm in ("dense", "lexical", "hybrid"):
        assert set(figures[arm]) == {"ndcg_at_10", "recall_at_5", "recall_at_10", "mrr_at_10", "p50_ms", "p99_ms"}
        assert figures[arm]["mrr_at_10"] == figures[arm]["ndcg_at_10"] == 1.0
        assert figures[arm]["p99_ms"] >= figures[arm]["p50_ms"] > 0.0
    json.dumps(figures)


def test_bankfaq_joins_equal_answers(tmp_path: Path) -> None:
    path = tmp_path / "bank.csv"
    path.write_text("Question,Answer,Class\nhow to pay,By card,x\nhow pay now,By card,x\nwhere is it,In town,x\n,,x\n")
    collection = benchmark.read_bankfaq(path)
    assert (len(collection.documents), len(collection.questions)) == (2, 3)
    assert run(bankfaq=path)["lexical"]["recall_at_10"] < 1.0  # no word in common


def test_squad_in_chinese(tmp_path: Path) -> None:
    def asked(question: str) -> dict[str, Any]:
        return {"id": "1", "question": question, "answers": []}

    paragraphs = [
        {"context": "补办银行卡收取 8 美元。", "qas": [asked("补办银行卡多少钱？"), asked(" ")]},
        {"context": "贷款可以提前还清。", "qas": [asked("贷款能提前还吗")]},
    ]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    figures = run(squad=path)
    assert figures["questions"] == 2
    assert figures["hybrid"]["mrr_at_10"] == figures["lexical"]["mrr_at_10"] == 1.0


def test_beir_with_grades_and_refusal(tmp_path: Path) -> None:
    corpus = [{"_id": "d1", "title": "Cats", "text": "Cats purr."}, {"_id": "d2", "text": "Dogs bark loudly."}]
    queries = [{"_id": "q1", "text": "do cats purr"}, {"_id": "q2", "text": "nobody asked"}]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq1\tgone\t1\n")
    (tmp_path / "oos.txt").write_text("weather in Boston\n\nhello\n")
    figures = run(beir=tmp_path, oos=tmp_path / "oos.txt")
    assert (figures["documents"], figures["questions"]) == (2, 1)
    assert figures["hybrid"]["ndcg_at_10"] == 1.0
    assert figures["refusal_auroc"] == 1.0


@pytest.mark.parametrize("option", ["stackfaq", "bankfaq", "squad", "beir"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"root": 5}', b"\xff\xfe", b"a,b\n1,2\n", b'{"data": [{}]}'])
def test_a_wrong_file_is_a_clear_error(tmp_path: Path, option: str, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=r"file|corpus\.jsonl"):
        run(**{option: path})
    with pytest.raises(CommandError, match="cannot be read"):
        run(**{option: tmp_path / "nowhere"})


def test_files_without_a_question_are_a_clear_error(tmp_path: Path, stackfaq: Path) -> None:
    (tmp_path / "empty.json").write_text('{"data": []}')
    with pytest.raises(CommandError, match="holds no question"):
        run(squad=tmp_path / "empty.json")
    (tmp_path / "oos.txt").write_text("\n\n")
    with pytest.raises(CommandError, match="one a line"):
        run(stackfaq=stackfaq, oos=tmp_path / "oos.txt")
