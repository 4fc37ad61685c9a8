"""How many texts a second a tuning learns, against transformers' Trainer with padding to 512 tokens in fp32.

Both tune the same encoder with the same adapter, batch size and optimiser on the same texts, one after the other in
this one run. Ours groups texts of like length and computes in bf16 where the processor has it; the other pads every
text to 512 tokens (or to the encoder's longest) and computes in fp32. Steps are timed after two that are not.

  samples_per_second           ours
  trainer_samples_per_second   transformers' Trainer
  ratio                        the first over the second
  mean_tokens                  of the texts, both markers included, as far as they are read
  bf16                         whether ours computed in bf16 (TrainingConfig.precision)
"""

from __future__ import annotations

import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.core.management.base import CommandError

from lepton_app.benchmarks._inputs import read_labelled, spread
from lepton_app.learning.config import TrainingConfig, configured, parsed
from lepton_app.learning.datasets import Point
from lepton_app.learning.errors import BadConfiguration
from lepton_app.lib.text_runtime import physical_cores

TRAINER_TOKENS = 512
_WARM_STEPS = 2


def add_arguments(parser: ArgumentParser) -> None:
    """Add the texts, the method and how long each of the two is measured."""
    parser.add_argument(
        "--train", type=Path, required=True, metavar="CSV", help="texts to learn, columns text,category"
    )
    parser.add_argument("--method", choices=["lora", "full"], default="lora", help="what learns in both (default lora)")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="timed steps of ours (default 40)")
    parser.add_argument("--trainer-steps", type=int, default=3, metavar="N", help="timed steps of theirs (default 3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the training")


def run(options: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure and return the figures that the module's first lines name."""
    import torch

    if options["steps"] < 1 or options["trainer_steps"] < 1:
        raise CommandError("--steps and --trainer-steps start at 1.")
    try:
        config = configured(options["method"], {**parsed(options["set"]), "epochs": 1})
    except BadConfiguration as error:
        raise CommandError(str(error)) from None
    wanted = (options["steps"] + _WARM_STEPS) * config.batch_size
    pairs = spread(list(zip(*read_labelled(options["train"]), strict=True)), wanted)
    if len(pairs) < 3 * config.batch_size:
        raise CommandError(f"{options['train']} has {len(pairs)} texts; give at least {3 * config.batch_size}.")
    torch.set_num_threads(settings.LEPTON_MODEL_THREADS or physical_cores())
    progress(f"Tuning on {len(pairs)} texts, grouped by length")
    ours, mean_tokens, bf16 = _ours(pairs, config)
    progress(f"Tuning with transformers' Trainer, padded to {TRAINER_TOKENS} tokens")
    theirs = _trainer(pairs, config, options["trainer_steps"])
    return {
        "samples_per_second": round(ours, 1),
        "trainer_samples_per_second": round(theirs, 2),
        "ratio": round(ours / theirs, 1),
        "mean_tokens": round(mean_tokens, 1),
        "bf16": bf16,
    }


class _Stopwatch:
    """A reporter that remembers when each step ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def stage(self, name: str) -> None:
        """Nothing is timed between steps."""

    def steps(self, done: int, total: int, point: Point | None = None) -> None:
        """Take the time; the first call comes before the first step."""
        self.ended.append(time.perf_counter())


def _ours(pairs: list[tuple[str, str]], config: TrainingConfig) -> tuple[float, float, bool]:
    import torch

    from lepton_app.learning.tuning import adapters, loop
    from lepton_app.learning.tuning.encoders import load_encoder

    encoder = load_encoder(settings.LEPTON_ENCODER or None, max_length=config.max_length, dropout=config.dropout)
    labels = sorted({label for _, label in pairs})
    tokens = encoder.tokenise([text for text, _ in pairs])
    examples = loop.Examples(tokens, [labels.index(label) for _, label in pairs])
    adapted = adapters.adapt(encoder, config, total_steps=loop.planned_steps(examples, config))
    watch = _Stopwatch()
    with tempfile.TemporaryDirectory(prefix="training-speed-") as scratch:
        loop.tune(
            adapted,
            torch.nn.Linear(encoder.dimension, len(labels)),
            examples,
            loop.Examples([], []),
            config,
            workspace=Path(scratch),
            reporter=watch,
        )
    timed = watch.ended[_WARM_STEPS:]
    rate = (len(timed) - 1) * config.batch_size / (timed[-1] - timed[0])
    return rate, sum(map(len, tokens)) / len(tokens), loop.uses_bf16(config.precision)


def _trainer(pairs: list[tuple[str, str]], config: TrainingConfig, steps: int) -> float:
    """Return the samples a second of transformers' Trainer with the same adapter around the same encoder."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from lepton_app.learning.tuning import adapters
    from lepton_app.learning.tuning.encoders import load_encoder
    from lepton_app.lib.encoder_export import quiet

    encoder = load_encoder(settings.LEPTON_ENCODER or None, max_length=TRAINER_TOKENS, dropout=config.dropout)
    labels = sorted({label for _, label in pairs})
    adapters.adapt(encoder, config, total_steps=steps + _WARM_STEPS)

    class Classifier(torch.nn.Module):
        """The encoder with a linear head and its loss, as Trainer calls a model."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder.transformer
            self.head = torch.nn.Linear(encoder.dimension, len(labels))

        def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> dict[str, Any]:
            logits = self.head(encoder.pooled(input_ids, attention_mask))
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    class Watch(TrainerCallback):
        """Takes the time after each step."""

        ended: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ended.append(time.perf_counter())

    chosen = pairs[: (steps + _WARM_STEPS) * config.batch_size]
    with quiet():
        padded = encoder.tokeniser(
            [text for text, _ in chosen], truncation=True, max_length=encoder.max_length, padding="max_length"
        )
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": labels.index(label)}
        for ids, mask, (_, label) in zip(padded["input_ids"], padded["attention_mask"], chosen, strict=True)
    ]
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="training-speed-") as scratch, quiet():
        arguments = TrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=config.batch_size,
            max_steps=steps + _WARM_STEPS,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            bf16=False,
        )
        trainer = Trainer(model=Classifier(), args=arguments, train_dataset=cast(Any, rows), callbacks=[watch])
        trainer.train()
    timed = watch.ended[_WARM_STEPS - 1 :]
    return (len(timed) - 1) * config.batch_size / (timed[-1] - timed[0])
