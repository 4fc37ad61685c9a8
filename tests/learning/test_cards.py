from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from lepton_app.learning.cards import Card, model_card
from lepton_app.learning.classifier import Prediction
from lepton_app.learning.config import METHODS, configured
from lepton_app.learning.datasets import Part
from lepton_app.learning.evaluation import evaluate
from lepton_app.learning.figures import Report

SECRET = "where is the parcel of the customer Miller"


def report() -> Report:
    part = Part((SECRET, "fees?"), ("card", "fees"))
    return evaluate(lambda texts: [Prediction(("fees", "card"), (0.8, 0.2), 1.0, in_scope=True) for _ in texts], part)


CARD = Card(
    task="intent",
    config=configured("lora", {"epochs": 4}),
    labels=("card", "fees"),
    base_model="sentence-transformers/all-MiniLM-L6-v2",
    rows={"training": 9003, "validation": 500, "hold-out": 500},
    figures={
        "trainable_parameters": 1_200_000,
        "total_parameters": 23_900_000,
        "fit_seconds": 312.4,
        "ranks": {"a": 3},
    },
    snapshot_sha256="ab" * 32,
    licence="mit",
    command="python manage.py train intent --method lora",
)


def header(card: str) -> dict[str, Any]:
    start, text, _ = card.split("---\n", 2)
    assert start == ""
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_the_header_is_what_hubs_read() -> None:
    found = header(model_card(replace(CARD, report=report())))
    assert found["language"] == ["en", "zh"]
    assert (found["license"], found["base_model"]) == ("mit", "sentence-transformers/all-MiniLM-L6-v2")
    assert (found["library_name"], found["base_model_relation"]) == ("peft", "adapter")
    assert found["metrics"] == ["accuracy", "f1"]
    (index,) = found["model-index"]
    assert index["results"][0]["metrics"][0] == {"type": "accuracy", "value": 0.5}


def test_a_card_states_data_training_and_figures() -> None:
    card = model_card(replace(CARD, report=report(), limits=("It has read no Chinese.",)))
    for said in (
        *("9,003", "1,200,000", "312.4", "ab" * 32, "| `epochs` | `4` | changed |", "| `rank` | `16` |  |"),
        *(
            "## Figures",
            "| Accuracy | 0.5000 (0.0945 to 0.9055, 95 %) |",
            "- It has read no Chinese.",
            "manage.py train",
        ),
        *("| fees | 0.500 | 1.000 | 0.667 | 1 |", "PeftModel.from_pretrained", "head.safetensors"),
    ):
        assert said in card, said


def test_no_text_of_a_customer_stands_in_a_card() -> None:
    found = report()
    assert SECRET in str(found)
    assert "Miller" not in model_card(replace(CARD, report=found))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_card(method: str) -> None:
    card = model_card(replace(CARD, config=configured(method, {}), command=""))
    found = header(card)
    is_adapter = method in {"lora", "adalora", "ia3", "contrastive", "pretrain"}
    assert ("PeftModel" in card) == is_adapter
    assert (found.get("library_name") == "peft") == is_adapter
    assert "metrics" not in found
    assert "## Figures" not in card
    assert "## How to load it" in card


def test_signs_of_labels_and_names_break_nothing() -> None:
    hostile = replace(CARD, task="a: b\n---\nc", title="*x* | <y> `z`", labels=("a|b`c", "---\nkey: value"))
    card = model_card(hostile)
    assert header(card)["tags"] == ["a: b --- c", "text-classification", "lora", "onnx"]
    assert "# \\*x\\* \\| \\<y\\> \\`z\\`" in card
    assert "\n---\nkey" not in card


def test_the_example_of_a_card_is_python() -> None:
    for method in ("lora", "pretrain"):
        card = model_card(replace(CARD, config=configured(method, {})))
        code = card.split("```python\n")[1].split("```")[0]
        compile(code, "card", "exec")
