"""How a run learns: one frozen, validated object, with a preset for each method that needs no tuning.

Unknown keys are refused, every option has a sentence, a unit and a range, and what a method does not use is not read.
``TrainingConfig.preset("lora")`` is what a run takes when nothing is said; ``configured("lora", {"epochs": 4})``
changes some options. The options as a person reads them are in ``options``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lepton_app.learning.errors import BadConfiguration

Method = Literal["head", "contrastive", "lora", "adalora", "ia3", "prompt", "full", "pretrain"]
METHODS: tuple[Method, ...] = get_args(Method)
TUNING_METHODS: tuple[Method, ...] = tuple(method for method in METHODS if method != "head")


class TrainingConfig(BaseModel):
    """Every option of a run. Frozen; a wrong value or an unknown key raises pydantic's ``ValidationError``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Method = Field("head", description="How the classifier is trained.")
    encoder: str = Field(
        "",
        max_length=500,
        description="A folder or a hub name of the encoder to start from; empty takes the installation's encoder.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Decides order, dropout and every random start.")

    optimiser: Literal["adamw", "sgd"] = Field("adamw", description="AdamW, or SGD with momentum 0.9.")
    learning_rate: float = Field(5e-4, gt=0, le=1, description="Highest learning rate of the adapter, per step.")
    head_learning_rate: float = Field(5e-3, gt=0, le=1, description="Highest learning rate of the head, per step.")
    batch_size: int = Field(32, ge=2, le=512, description="Texts a step.")
    epochs: int = Field(5, ge=1, le=200, description="Passes over the training texts at most.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Decoupled L2 penalty on the trained weights, per step.")
    dropout: float = Field(0.1, ge=0, le=0.9, description="Share of the encoder's activations dropped while learning.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Share of the target spread over the other labels.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="Balanced gives each label the same weight in the loss, however many texts it has."
    )
    warm_up: float = Field(0.06, ge=0, le=0.9, description="Share of all steps in which the learning rate rises.")
    gradient_clip: float = Field(1.0, ge=0, le=1000, description="Longest gradient, as a norm; 0 does not clip.")
    patience: int = Field(
        0, ge=0, le=100, description="Epochs without a better validation accuracy before it stops; 0 never stops early."
    )
    max_length: int = Field(128, ge=8, le=512, description="Longest text that is read, in tokens.")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="Arithmetic of the tuning; auto takes bf16 on processors that have it."
    )
    averaging: float = Field(
        0.0, ge=0, lt=1, description="Decay of the moving average of the trained weights, per step; 0 keeps the last."
    )

    rank: int = Field(16, ge=1, le=256, description="Rank of LoRA's matrices; AdaLoRA ends at this average rank.")
    initial_rank: int = Field(24, ge=1, le=384, description="Rank at which AdaLoRA starts.")
    alpha: int = Field(32, ge=1, le=1024, description="Scale of LoRA's update, divided by the rank.")
    adapter_dropout: float = Field(0.0, ge=0, le=0.9, description="Share of the adapter's inputs dropped.")
    targets: Literal["attention", "query_value", "all"] = Field(
        "all", description="Which linear layers get an adapter: attention, query and value alone, or all."
    )
    prompt_tokens: int = Field(16, ge=1, le=100, description="Length of the soft prompt, in tokens.")

    classification_weight: float = Field(
        1.0, ge=0, le=10, description="Weight of the classification loss; 0 learns by contrast alone."
    )
    contrastive_weight: float = Field(
        0.0, ge=0, le=10, description="Weight of the supervised contrastive loss beside the classification loss."
    )
    contrastive_temperature: float = Field(0.1, gt=0, le=2, description="Temperature of the contrastive loss.")
    texts_per_label: int = Field(4, ge=2, le=64, description="Texts of one label in a contrastive batch.")
    label_names: bool = Field(
        default=True, description="Whether the own name of a label with few texts counts as one of them."
    )
    consistency: float = Field(
        0.0, ge=0, le=10, description="Weight of agreement between two passes with dropout (R-drop)."
    )
    masked_share: float = Field(0.15, gt=0, lt=1, description="Share of tokens masked in pre-training.")

    layers: int = Field(0, ge=0, le=48, description="Layers the tuned encoder keeps, distilled; 0 keeps all.")
    distil_epochs: int = Field(3, ge=1, le=100, description="Passes of distillation after layers were dropped.")

    ngram_weight: float = Field(
        1.0, ge=0, le=10, description="How much character n-grams count beside the encoder, times the usual weight."
    )
    inverse_regularisation: float = Field(
        20.0,
        ge=0,
        le=10_000,
        description="C of the final linear head: higher fits closer; 0 takes what does best on the validation texts.",
    )
    false_refusals: float = Field(
        0.05, gt=0, lt=0.5, description="Share of genuine texts that the out-of-scope threshold may turn away."
    )
    replay: float = Field(
        1.0, ge=0, le=1, description="Share of old texts learnt again when a run starts from an earlier one."
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.method == "adalora" and self.initial_rank < self.rank:
            raise ValueError("initial_rank must be at least rank: AdaLoRA gives ranks away, it does not add any.")
        if not self.classification_weight and not self.contrastive_weight:
            raise ValueError("classification_weight and contrastive_weight are both 0: there is nothing to learn.")
        if self.method in ("head", "pretrain") and self.layers:
            raise ValueError(f"layers needs a method that tunes the encoder for labels; {self.method} does not.")
        return self

    @classmethod
    def preset(cls, method: str) -> TrainingConfig:
        """Return the options that a method takes when nothing is said. Raises ``BadConfiguration``."""
        return configured(method, {})

    @property
    def sha256(self) -> str:
        """Tell one configuration from another, in hex."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


# What differs from the fields' defaults.
_PRESETS: dict[Method, dict[str, Any]] = {
    "head": {},
    "contrastive": {
        "batch_size": 128,
        "epochs": 5,
        "warm_up": 0.1,
        "classification_weight": 0.0,
        "contrastive_weight": 1.0,
        "label_smoothing": 0.0,
        "ngram_weight": 0.5,
    },
    "lora": {"inverse_regularisation": 0},
    "adalora": {"epochs": 6, "rank": 8, "initial_rank": 12, "learning_rate": 1e-3, "inverse_regularisation": 0},
    "ia3": {"epochs": 8, "learning_rate": 5e-3, "inverse_regularisation": 0},
    "prompt": {"epochs": 8, "learning_rate": 5e-3, "prompt_tokens": 16, "inverse_regularisation": 0},
    "full": {"epochs": 3, "learning_rate": 5e-5, "head_learning_rate": 2e-3, "inverse_regularisation": 0},
    "pretrain": {"epochs": 3, "learning_rate": 5e-4, "label_smoothing": 0.0},
}


@dataclass(frozen=True)
class Option:
    """One option as a person reads it: its name, its sentence, its range and its default."""

    name: str
    description: str
    allowed: str
    default: str


def configured(method: str, changes: Mapping[str, Any]) -> TrainingConfig:
    """Return a method's preset with changes; raise ``BadConfiguration`` that names each wrong option.

    >>> configured("lora", {"epochs": "4"}).epochs
    4
    """
    if method not in METHODS:
        raise BadConfiguration(f"There is no method {method!r}. Methods: {', '.join(METHODS)}.")
    unknown = sorted(set(changes) - set(TrainingConfig.model_fields))
    if unknown:
        raise BadConfiguration(
            f"There is no option {', '.join(map(repr, unknown))}. Options: {', '.join(TrainingConfig.model_fields)}."
        )
    try:
        return TrainingConfig.model_validate({**_PRESETS[method], **changes, "method": method})
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the options'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        )
        raise BadConfiguration(f"The configuration is not valid. {said}.") from error


def parsed(assignments: Sequence[str]) -> dict[str, str]:
    """Return the options of ``key=value`` words, as ``--set`` takes them; raise ``BadConfiguration``.

    >>> parsed(["epochs=4", "rank=8"])
    {'epochs': '4', 'rank': '8'}
    """
    options = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise BadConfiguration(f"An option is set as key=value, for example epochs=4; this is {assignment!r}.")
        options[name.strip()] = value.strip()
    return options


def options() -> list[Option]:
    """Return every option but the method, in the order of the fields."""
    found = []
    for name, about in TrainingConfig.model_json_schema()["properties"].items():
        if name == "method":
            continue
        found.append(Option(name, about["description"], _allowed(about), json.dumps(about.get("default"))))
    return found


def _allowed(about: Mapping[str, Any]) -> str:
    """Say a field's range in words and signs."""
    if "enum" in about:
        return " | ".join(about["enum"])
    if about.get("type") == "boolean":
        return "true | false"
    low = f"≥ {about['minimum']:.12g}" if "minimum" in about else ""
    low = f"> {about['exclusiveMinimum']:g}" if "exclusiveMinimum" in about else low
    high = f"≤ {about['maximum']:.12g}" if "maximum" in about else ""
    high = f"< {about['exclusiveMaximum']:g}" if "exclusiveMaximum" in about else high
    return ", ".join(part for part in (low, high) if part) or "text"
