"""The configuration refuses what it does not know, says what is wrong, and needs nothing to be said."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lepton_app.learning.config import METHODS, TrainingConfig, configured, options, parsed
from lepton_app.learning.errors import BadConfiguration


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_preset(method: str) -> None:
    config = TrainingConfig.preset(method)
    assert config.method == method
    assert configured(method, config.model_dump(exclude={"method"})) == config


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainingConfig.preset("lora").epochs = 3


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("lore", {}, "There is no method 'lore'. Methods: head, contrastive"),
        ("lora", {"epoch": 3}, "There is no option 'epoch'. Options: method, encoder"),
        ("lora", {"epochs": 0}, "epochs: Input should be greater than or equal to 1"),
        ("lora", {"epochs": "many"}, "epochs: Input should be a valid integer"),
        ("lora", {"learning_rate": float("nan")}, "learning_rate: Input should be a finite number"),
        ("lora", {"optimiser": "adam"}, "optimiser: Input should be 'adamw' or 'sgd'"),
        ("lora", {"epochs": 0, "rank": 0}, "epochs: .*; rank: "),
        ("adalora", {"initial_rank": 4, "rank": 8}, "initial_rank must be at least rank"),
        ("head", {"layers": 3}, "layers needs a method that tunes"),
        ("lora", {"classification_weight": 0}, "there is nothing to learn"),
    ],
)
def test_what_is_wrong_is_named(method: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadConfiguration, match=said):
        configured(method, changes)


@pytest.mark.parametrize("word", ["epochs", "=4", " = 4"])
def test_an_assignment_has_two_sides(word: str) -> None:
    with pytest.raises(BadConfiguration, match="An option is set as key=value"):
        parsed([word])


def test_words_become_values() -> None:
    config = configured("lora", parsed(["epochs=4", "label_names=false", "averaging = 0.5", "encoder="]))
    assert (config.epochs, config.label_names, config.averaging, config.encoder) == (4, False, 0.5, "")


def test_another_option_is_another_configuration() -> None:
    same, other = configured("lora", {}), configured("lora", {"seed": 1})
    assert same.sha256 == TrainingConfig.preset("lora").sha256
    assert same.sha256 != other.sha256


def test_each_option_has_a_sentence_and_a_range() -> None:
    found = {option.name: option for option in options()}
    assert set(found) == set(TrainingConfig.model_fields) - {"method"}
    for option in found.values():
        assert option.description.endswith(".")
        assert option.allowed
    assert found["epochs"].allowed == "≥ 1, ≤ 200"
    assert found["precision"].allowed == "auto | bf16 | fp32"
