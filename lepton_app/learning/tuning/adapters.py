"""What of an encoder learns: LoRA, AdaLoRA or IA3 matrices beside its weights, a soft prompt before it, or all of it.

An adapter is kept in PEFT's own format (``adapter_config.json``, ``adapter_model.safetensors``), so that any program
that knows PEFT can load it; the weights of ``full`` lie in ``weights.safetensors``. Soft prompts are put before the
texts here and not by PEFT's wrapper, since the exported encoder must do the same without PEFT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.errors import BaseUnusable
from lepton_app.learning.tuning.encoders import TorchEncoder
from lepton_app.lib.encoder_export import quiet

ADAPTER_FOLDER = "adapter"
_CONFIG, _WEIGHTS, _FULL = "adapter_config.json", "adapter_model.safetensors", "weights.safetensors"
_NAME = "default"
_VALUES = ("value", "v_proj", "v", "v_lin")
_QUERIES = ("query", "q_proj", "q", "q_lin")
_KEYS = ("key", "k_proj", "k", "k_lin")
_FUSED = ("Wqkv", "qkv_proj", "in_proj")
ORTHOGONALITY = 0.5  # AdaLoRA's weight of the term that keeps its factors orthogonal (Zhang et al. 2023)


@dataclass
class Adapted:
    """An encoder whose adapter learns. ``peft`` is PEFT's wrapper, None for a soft prompt and for all weights."""

    encoder: TorchEncoder
    method: str
    peft: Any = None

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that learn, with their names."""
        if self.encoder.prompt is not None:
            yield "prompt", self.encoder.prompt
        for name, parameter in self.encoder.transformer.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    def parameters(self) -> tuple[int, int]:
        """Return how many parameters learn and how many there are in all, the head not counted."""
        learns = sum(parameter.numel() for _, parameter in self.trainable())
        there = sum(parameter.numel() for parameter in self.encoder.transformer.parameters())
        return learns, there + (self.encoder.prompt.numel() if self.encoder.prompt is not None else 0)

    def penalty(self) -> Tensor | float:
        """Return AdaLoRA's orthogonality term, 0 for every other method."""
        if self.method != "adalora":
            return 0.0
        terms = []
        for name, factor in self.encoder.transformer.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                product = factor @ factor.T if "lora_A" in name else factor.T @ factor
                terms.append(torch.linalg.matrix_norm(product - torch.eye(len(product))))
        return ORTHOGONALITY * torch.stack(terms).mean()

    def after_step(self, step: int) -> None:
        """Let AdaLoRA move its ranks; ``step`` counts from 0, gradients are still there."""
        if self.method == "adalora":
            self.peft.base_model.update_and_allocate(step)

    def ranks(self) -> dict[str, int]:
        """Return the rank that each of AdaLoRA's matrices kept; empty for every other method."""
        if self.method != "adalora":
            return {}
        values = (item for item in self.encoder.transformer.named_parameters() if f"lora_E.{_NAME}" in item[0])
        return {name.split(".lora_E")[0]: int((value != 0).sum()) for name, value in values}

    def save(self, folder: Path) -> None:
        """Write the adapter into ``folder`` in PEFT's format, or the whole weights of ``full``."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.method == "full":
            save_file(
                {name: value.detach().clone() for name, value in self.encoder.transformer.state_dict().items()},
                folder / _FULL,
            )
            (folder / _CONFIG).write_text(json.dumps({"peft_type": "FULL"}), encoding="utf-8")
        elif self.encoder.prompt is not None:
            prompt = self.encoder.prompt.detach().clone()
            save_file({"prompt_embeddings": prompt}, folder / _WEIGHTS)
            about = {
                "peft_type": "PROMPT_TUNING",
                "task_type": "FEATURE_EXTRACTION",
                "num_virtual_tokens": len(prompt),
                "token_dim": prompt.shape[1],
                "num_transformer_submodules": 1,
                "inference_mode": True,
            }
            (folder / _CONFIG).write_text(json.dumps(about, indent=1), encoding="utf-8")
        else:
            with quiet():
                self.peft.save_pretrained(str(folder), safe_serialization=True)
            (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours is written by whoever publishes
            # PEFT writes the folder that the encoder was read from, which means nothing on another machine.
            about = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            about["base_model_name_or_path"] = self.encoder.name
            (folder / _CONFIG).write_text(json.dumps(about, indent=1, sort_keys=True), encoding="utf-8")

    def merged(self) -> TorchEncoder:
        """Return the encoder with its adapter merged into its weights; this object is spent."""
        if self.peft is not None:
            self.encoder.transformer = self.peft.merge_and_unload()
        return self.encoder


def adapt(encoder: TorchEncoder, config: TrainingConfig, *, total_steps: int) -> Adapted:
    """Put a fresh adapter of the configured method on an encoder; everything else is frozen.

    ``total_steps`` is the run's true number of steps, which AdaLoRA's schedule needs.
    """
    import peft

    transformer = encoder.transformer
    if config.method == "full":
        for name, parameter in transformer.named_parameters():
            parameter.requires_grad = "pooler" not in name
        return Adapted(encoder, "full")
    for parameter in transformer.parameters():
        parameter.requires_grad = False
    if config.method == "prompt":
        words = transformer.get_input_embeddings().weight  # type: ignore[operator]  # a method of transformers' models
        generator = torch.Generator().manual_seed(config.seed)
        chosen = torch.randint(len(words), (config.prompt_tokens,), generator=generator)
        encoder.prompt = nn.Parameter(words[chosen].detach().clone())
        encoder.max_length = min(encoder.max_length, _positions(transformer) - config.prompt_tokens)
        return Adapted(encoder, "prompt")
    modules = _linear_layers(transformer, config.targets)
    about: peft.PeftConfig
    if config.method == "adalora":
        # A tenth of the steps at full rank, the budget then falls, the last third learns with what is left.
        warm, last = max(1, total_steps // 10), max(1, total_steps // 3)
        about = peft.AdaLoraConfig(
            init_r=config.initial_rank,
            target_r=config.rank,
            tinit=warm,
            tfinal=last,
            deltaT=max(1, (total_steps - warm - last) // 100),
            total_step=max(total_steps, warm + last + 1),
            lora_alpha=config.alpha,
            lora_dropout=config.adapter_dropout,
            orth_reg_weight=ORTHOGONALITY,
            target_modules=modules,
            task_type="FEATURE_EXTRACTION",
        )
    elif config.method == "ia3":
        modules, narrowing = _scaled_layers(transformer)
        about = peft.IA3Config(target_modules=modules, feedforward_modules=narrowing, task_type="FEATURE_EXTRACTION")
    else:
        about = peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.adapter_dropout,
            target_modules=modules,
            task_type="FEATURE_EXTRACTION",
        )
    with quiet():
        wrapped: Any = peft.get_peft_model(cast(Any, transformer), about, adapter_name=_NAME)
    encoder.transformer = wrapped.base_model.model
    return Adapted(encoder, config.method, wrapped)


def load_adapter(adapted: Adapted, folder: Path) -> None:
    """Go on from an adapter of the same method and shape. Raises ``BaseUnusable``."""
    try:
        if adapted.method == "full":
            adapted.encoder.transformer.load_state_dict(load_file(folder / _FULL))
        elif adapted.encoder.prompt is not None:
            prompt = load_file(folder / _WEIGHTS)["prompt_embeddings"]
            if prompt.shape != adapted.encoder.prompt.shape:
                raise ValueError(f"a soft prompt of shape {tuple(prompt.shape)}")
            adapted.encoder.prompt.data = prompt
        else:
            import peft

            weights = load_file(folder / _WEIGHTS)
            found: Any = peft.set_peft_model_state_dict(adapted.peft, weights, adapter_name=_NAME)
            if found.unexpected_keys:
                raise ValueError(f"{len(found.unexpected_keys)} weights of another shape of adapter")
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise BaseUnusable(
            f"The earlier run's adapter does not fit this configuration ({error}); use its method, rank and targets."
        ) from error


def merge_adapter(encoder: TorchEncoder, folder: Path) -> None:
    """Merge an earlier run's adapter into the encoder's weights. Raises ``BaseUnusable``."""
    import peft

    try:
        kind = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["peft_type"]
        if kind == "FULL":
            encoder.transformer.load_state_dict(load_file(folder / _FULL))
        elif kind == "PROMPT_TUNING":
            raise ValueError("a soft prompt cannot be merged into weights; start from a run of another method")
        else:
            with quiet():
                wrapped: Any = peft.PeftModel.from_pretrained(cast(Any, encoder.transformer), str(folder))
                encoder.transformer = wrapped.merge_and_unload()
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise BaseUnusable(f"The earlier run's adapter cannot be used: {error}.") from error


def _positions(transformer: nn.Module) -> int:
    return int(getattr(transformer.config, "max_position_embeddings", 512))


def _linear_layers(transformer: nn.Module, targets: str) -> list[str]:
    """Return the full names of the linear layers that get an adapter; the pooler never does."""
    found = []
    for name, module in transformer.named_modules():
        if not isinstance(module, nn.Linear) or "pooler" in name:
            continue
        last = name.rsplit(".", 1)[-1]
        in_attention = "attention" in name.lower() or "attn" in name.lower()
        is_named = targets == "query_value" and last in (*_VALUES, *_QUERIES, *_FUSED)
        if targets == "all" or (targets == "attention" and in_attention) or is_named:
            found.append(name)
    if not found:
        raise BaseUnusable(f"This encoder has no layers that targets={targets} names; use targets=all.")
    return found


def _scaled_layers(transformer: nn.Module) -> tuple[list[str], list[str]]:
    """Return the layers that IA3 scales: keys, values and the narrowing layer of each feed-forward block."""
    scaled, narrowing = [], []
    for name, module in transformer.named_modules():
        if not isinstance(module, nn.Linear) or "pooler" in name:
            continue
        last = name.rsplit(".", 1)[-1]
        if last in (*_KEYS, *_VALUES, *_FUSED):
            scaled.append(name)
        elif module.in_features > module.out_features:
            narrowing.append(name)
    if not scaled and not narrowing:
        raise BaseUnusable("This encoder has no keys, values or feed-forward layers that IA3 could scale.")
    return scaled + narrowing, narrowing
