"""An encoder in torch: its tokeniser, its transformer and its pooling, as the exported one will compute them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lepton_app.learning.errors import UnreadableEncoder
from lepton_app.lib.encoder_export import encoder_name, quiet, source_folder

Rows = NDArray[np.float32]
Tokens = list[list[int]]
_POOLINGS = ("mean", "cls")


@dataclass
class TorchEncoder:
    """A transformer with its tokeniser.

    ``prompt`` is a soft prompt of shape ``(p, d)`` put before every text; ``name`` is the encoder's on every machine.
    """

    folder: Path
    tokeniser: Any
    transformer: nn.Module
    pooling: str
    max_length: int
    prompt: nn.Parameter | None = None
    name: str = ""

    @property
    def dimension(self) -> int:
        """The width of a row."""
        return int(self.transformer.config.hidden_size)  # type: ignore[union-attr,arg-type]  # transformers' own config

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Return the token numbers of each text, both markers included, cut at ``max_length``."""
        # A tokeniser reads a text to its end before it cuts it.
        cut = [text[: self.max_length * 32] for text in texts]
        with quiet():
            found: Tokens = self.tokeniser(cut, truncation=True, max_length=self.max_length)["input_ids"]
        return found

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the unit rows of a padded batch, ``(b, d) float32``, with the graph that leads to them."""
        states = self.states(ids, mask).float()  # (b, t, d)
        if self.pooling == "cls":
            rows = states[:, 0]
        else:
            weights = mask.unsqueeze(-1).to(states.dtype)  # (b, t, 1)
            rows = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(rows, dim=-1)

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden states of the texts' own tokens, ``(b, t, d)``."""
        if self.prompt is None:
            found: Tensor = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
            return found
        length = len(self.prompt)
        words = self.transformer.get_input_embeddings()(ids)  # type: ignore[operator]  # a method of transformers' models
        before = self.prompt.to(words.dtype).expand(len(ids), -1, -1)  # (b, p, d)
        seen = torch.cat([mask.new_ones(len(ids), length), mask], dim=1)  # (b, p + t)
        inputs = torch.cat([before, words], dim=1)
        states: Tensor = self.transformer(inputs_embeds=inputs, attention_mask=seen).last_hidden_state
        return states[:, length:]

    def rows(self, tokens: Tokens, *, batch: int = 64, bf16: bool = False) -> Rows:
        """Return the unit rows of tokenised texts in their order, ``(n, d) float32``, without dropout.

        ``bf16`` computes in half precision, which is twice as fast and good enough to begin or to watch a tuning by.
        """
        self.transformer.eval()
        order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
        rows = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                places = order[start : start + batch]
                ids, mask = padded([tokens[place] for place in places])
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    found = self.pooled(ids, mask)
                rows[places] = found.float().numpy()
        return rows


def padded(tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return token numbers and mask of a batch, ``(b, t) int64`` each, zeros behind each text."""
    longest = max(map(len, tokens))
    ids = torch.zeros(len(tokens), longest, dtype=torch.long)
    mask = torch.zeros(len(tokens), longest, dtype=torch.long)
    for row, numbers in enumerate(tokens):
        ids[row, : len(numbers)] = torch.tensor(numbers)
        mask[row, : len(numbers)] = 1
    return ids, mask


def load_encoder(
    source: str | Path | None, *, max_length: int, dropout: float = 0.1, lineage: Sequence[Path] = ()
) -> TorchEncoder:
    """Read an encoder from a folder, a hub name or the wheel (None), and merge earlier runs' adapters into it.

    ``lineage`` names folders of adapters (``adapters.ADAPTER_FOLDER`` of encoder artifacts), first to last.
    ``dropout`` is the share of activations dropped while it learns. Raises ``ExportError`` or ``UnreadableEncoder``.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from lepton_app.learning.tuning.adapters import merge_adapter

    folder = source_folder(source)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder)
            for name in ("hidden_dropout_prob", "dropout", "embedding_dropout", "mlp_dropout"):
                if hasattr(config, name):
                    setattr(config, name, dropout)
            transformer = AutoModel.from_pretrained(folder, config=config, attn_implementation="sdpa")
            tokeniser = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableEncoder(
            f"{folder} holds no encoder that transformers can read ({error}). Name a folder in the format of "
            "sentence-transformers, or leave the option encoder empty."
        ) from error
    pooling = _pooling(folder)
    positions = int(getattr(transformer.config, "max_position_embeddings", max_length))
    encoder = TorchEncoder(
        folder, tokeniser, transformer, pooling, min(max_length, positions), name=encoder_name(source)
    )
    for adapter in lineage:
        merge_adapter(encoder, adapter)
    return encoder


def _pooling(folder: Path) -> str:
    """Read how the encoder pools from the format of sentence-transformers; a plain transformer is pooled by mean."""
    path = folder / "1_Pooling" / "config.json"
    if not path.exists():
        return "mean"
    about = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(about.get("pooling_mode"), str):
        modes = [about["pooling_mode"]]
    else:
        modes = [name for name, on in about.items() if name.startswith("pooling_mode_") and on is True]
    modes = [{"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}.get(mode, mode) for mode in modes]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise UnreadableEncoder(
            f"The encoder in {folder} pools by {', '.join(modes) or 'nothing'}; mean and cls are known. "
            "Choose another encoder."
        )
    return modes[0]
