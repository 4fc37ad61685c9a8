"""An encoder learns the language of an installation from texts without labels, before any label is learnt.

Masked language modelling (Devlin et al. 2019) through LoRA: 15 % of the tokens are hidden and guessed, by a small head
over the encoder's own word embeddings, which is thrown away afterwards. A sentence encoder that only guesses words
forgets how to tell sentences apart; so its rows are held near to those that it gave before, by their cosine.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from django.conf import settings
from torch import Tensor, nn

from lepton_app.learning.cards import Card, model_card
from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.datasets import Dataset, Part, Point, Reporter
from lepton_app.learning.errors import NothingToLearn
from lepton_app.learning.tuning import adapters, batches, exporting
from lepton_app.learning.tuning.encoders import TorchEncoder, load_encoder, padded
from lepton_app.learning.tuning.loop import uses_bf16

if TYPE_CHECKING:
    from lepton_app.learning.training import Base

LEAST_TEXTS = 20
_NEARNESS = 1.0  # weight of staying near to the rows of before


class _Guesser(nn.Module):
    """Guesses hidden tokens from states ``(m, d)``: one layer, then the encoder's word embeddings, ``(m, v)``."""

    def __init__(self, words: Tensor) -> None:
        super().__init__()
        width = words.shape[1]
        self.layer, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(len(words)))
        self.words = words.detach()
        nn.init.eye_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = self.norm(nn.functional.gelu(self.layer(states))) @ self.words.T + self.bias
        return found


def pretrain(
    dataset: Dataset,
    config: TrainingConfig,
    *,
    root: Path,
    reporter: Reporter,
    workspace: Path,
    base: Base,
    task: str = "",
) -> tuple[Path, dict[str, Any]]:
    """Publish the encoder adapted to the training texts and the texts out of scope; return its folder and figures.

    ``figures`` has ``trainable_parameters``, ``total_parameters``, ``texts``, ``first_loss`` and ``last_loss`` (mean
    negative log-likelihood of a hidden token, in nats, over the first and the last epoch). Raises ``NothingToLearn``.
    """
    from lepton_app.learning.training import _adapters_of, _cores

    texts = list(dict.fromkeys((*dataset.train.texts, *dataset.unknown_train)))
    if len(texts) < LEAST_TEXTS:
        raise NothingToLearn(f"Pre-training needs at least {LEAST_TEXTS} texts; there are {len(texts)}.")
    torch.set_num_threads(settings.LEPTON_MODEL_THREADS or _cores())
    workspace.mkdir(parents=True, exist_ok=True)
    reporter.stage("Loading the encoder")
    lineage = _adapters_of(base.lineage)
    source = config.encoder or settings.LEPTON_ENCODER or None
    encoder = load_encoder(source, max_length=config.max_length, dropout=config.dropout, lineage=lineage)
    tokens = encoder.tokenise(texts)
    reporter.stage(f"Encoding {len(texts)} texts as they are")
    before = torch.from_numpy(encoder.rows(tokens))
    torch.manual_seed(config.seed)
    words: Tensor = encoder.transformer.get_input_embeddings().weight  # type: ignore[operator]  # transformers' method
    guesser = _Guesser(words)
    adapted = adapters.adapt(encoder, config, total_steps=1)
    reporter.stage(f"Reading {len(texts)} texts")
    losses = _read(adapted, guesser, tokens, before, config, reporter)
    learns, there = adapted.parameters()
    figures = {
        "trainable_parameters": learns,
        "total_parameters": there,
        "texts": len(texts),
        "first_loss": round(losses[0], 4),
        "last_loss": round(losses[-1], 4),
    }
    path, _ = exporting.publish_tuned(
        adapted,
        None,
        root=root,
        name=f"{encoder.name.rsplit('/', 1)[-1]}-pretrain",
        origin=f"tuned:pretrain:{config.sha256[:16]}",
        judged=Part(),
        fitted=Part(),
        lineage=lineage,
        card=model_card(Card(task, config, (), encoder.name, {"training": len(texts)}, figures)),
        reporter=reporter,
        fit=None,
    )
    return path, figures


def _read(
    adapted: adapters.Adapted,
    guesser: _Guesser,
    tokens: list[list[int]],
    before: Tensor,
    config: TrainingConfig,
    reporter: Reporter,
) -> list[float]:
    """Take the steps of all epochs and return the mean loss of a hidden token in each epoch."""
    learning = [parameter for _, parameter in adapted.trainable()]
    optimiser = torch.optim.AdamW(
        [
            {"params": learning, "lr": config.learning_rate},
            {"params": list(guesser.parameters()), "lr": config.head_learning_rate},
        ],
        weight_decay=config.weight_decay,
    )
    lengths = [len(numbers) for numbers in tokens]
    generator = torch.Generator().manual_seed(config.seed)
    an_epoch = len(batches.by_length(lengths, size=config.batch_size, seed=0))
    total, step, said = an_epoch * config.epochs, 0, time.monotonic()
    means = []
    for epoch in range(config.epochs):
        lost = 0.0
        for places in batches.by_length(lengths, size=config.batch_size, seed=config.seed * 10_000 + epoch):
            adapted.encoder.transformer.train()
            ids, mask = padded([tokens[place] for place in places])
            hidden, is_hidden = mask_tokens(ids, mask, adapted.encoder, config.masked_share, generator)
            with torch.autocast("cpu", torch.bfloat16, enabled=uses_bf16(config.precision)):
                states = adapted.encoder.states(hidden, mask)
                rows = adapted.encoder.pooled(ids, mask)
            guesses = guesser(states.float()[is_hidden])
            word_loss = nn.functional.cross_entropy(guesses, ids[is_hidden])
            loss = word_loss + _NEARNESS * (1 - (rows.float() * before[places]).sum(dim=1)).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learning, config.gradient_clip or 1e9)
            rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total))
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            lost, step = lost + float(word_loss.detach()), step + 1
            point = None
            if time.monotonic() - said > 1 or step == total:
                said = time.monotonic()
                point = Point(step, step / an_epoch, float(word_loss.detach()), rate)
            reporter.steps(step, total, point)
        means.append(lost / an_epoch)
    return means


def mask_tokens(
    ids: Tensor, mask: Tensor, encoder: TorchEncoder, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return token numbers with some hidden, and which: ``(b, t)`` each. At least one token is hidden.

    Of the chosen tokens eight in ten become the mask, one in ten another token, one in ten stays (Devlin et al.).
    """
    tokeniser = encoder.tokeniser
    special = torch.tensor(sorted({int(number) for number in tokeniser.all_special_ids}))
    can_hide = mask.bool() & ~torch.isin(ids, special)
    chosen = (torch.rand(ids.shape, generator=generator) < share) & can_hide
    if not bool(chosen.any()):
        place = int((can_hide if bool(can_hide.any()) else mask.bool()).flatten().nonzero()[0])
        chosen.view(-1)[place] = True
    fate = torch.rand(ids.shape, generator=generator)
    other = torch.randint(int(tokeniser.vocab_size), ids.shape, generator=generator)
    hidden = ids.clone()
    hidden[chosen & (fate < 0.8)] = int(tokeniser.mask_token_id)
    swapped = chosen & (fate >= 0.8) & (fate < 0.9)
    hidden[swapped] = other[swapped]
    return hidden, chosen
