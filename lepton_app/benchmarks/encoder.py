"""How fast texts become rows in torch, ONNX fp32 and ONNX int8, and how alike the rows are.

The three take turns, a few rounds each, on the same texts and all cores; a figure is the fastest of its rounds, so that
what else the machine does counts little. torch runs through sentence-transformers in its default batches of 32.

  texts                    texts measured (--most bounds them; they are spread evenly over the file)
  torch_texts_per_second   sentence-transformers
  onnx_texts_per_second    ONNX Runtime, fp32
  int8_texts_per_second    ONNX Runtime, int8
  p50_ms_one_text          median time of one text alone, tokenised and encoded in int8, in milliseconds
  min_cosine_fp32          the least cosine of an ONNX fp32 row to torch's row of the same text
  mean_cosine_int8         the mean cosine of ONNX int8 rows to torch's
  int8_over_torch          int8_texts_per_second / torch_texts_per_second
"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import CommandError

from lepton_app.benchmarks._inputs import encoder_directory, read_lines, rounded, spread
from lepton_app.lib.encoder_export import source_folder
from lepton_app.lib.text_runtime import Rows, TextEncoder

ONE_BY_ONE = 300


def add_arguments(parser: ArgumentParser) -> None:
    """Add the texts and how much of them is measured."""
    parser.add_argument("--texts", type=Path, required=True, metavar="FILE", help="UTF-8, one text a line")
    parser.add_argument("--most", type=int, default=2000, metavar="N", help="texts measured at most (default 2000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of each (default 3)")


def run(options: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure and return the figures that the module's first lines name."""
    if options["most"] < 1 or options["rounds"] < 1:
        raise CommandError("--most and --rounds start at 1.")
    texts = spread(read_lines(options["texts"]), options["most"])
    directory = encoder_directory(progress)
    threads = settings.LEPTON_MODEL_THREADS
    fp32 = TextEncoder(directory, precision="fp32", threads=threads)
    int8 = TextEncoder(directory, precision="int8", threads=threads)
    progress("Loading torch")
    contestants: dict[str, Callable[[Sequence[str]], Rows]] = {
        "torch": _torch_encoder(fp32.max_length),
        "onnx": fp32.encode,
        "int8": int8.encode,
    }
    rows: dict[str, Rows] = {}
    seconds = dict.fromkeys(contestants, float("inf"))
    for encode in contestants.values():
        encode(texts[:64])
    for number in range(1, options["rounds"] + 1):
        for name, encode in contestants.items():
            start = time.perf_counter()
            rows[name] = encode(texts)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
            progress(f"round {number}, {name}: {len(texts) / seconds[name]:.0f} texts/s at best so far")
    times = []
    for text in spread(texts, ONE_BY_ONE):
        start = time.perf_counter()
        int8.encode([text])
        times.append(time.perf_counter() - start)
    return rounded(
        {
            "texts": len(texts),
            "torch_texts_per_second": len(texts) / seconds["torch"],
            "onnx_texts_per_second": len(texts) / seconds["onnx"],
            "int8_texts_per_second": len(texts) / seconds["int8"],
            "p50_ms_one_text": float(np.median(times)) * 1000,
            "min_cosine_fp32": float(_cosines(rows["torch"], rows["onnx"]).min()),
            "mean_cosine_int8": float(_cosines(rows["torch"], rows["int8"]).mean()),
            "int8_over_torch": seconds["torch"] / seconds["int8"],
            "encoder": int8.version,
        },
        digits=6,
    )


def _torch_encoder(max_length: int) -> Callable[[Sequence[str]], Rows]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(source_folder(settings.LEPTON_ENCODER or None)), device="cpu")
    model.max_seq_length = max_length

    def encode(texts: Sequence[str]) -> Rows:
        return np.asarray(
            model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False), dtype=np.float32
        )

    return encode


def _cosines(left: Rows, right: Rows) -> Any:
    return np.einsum("nd,nd->n", left.astype(np.float64), right.astype(np.float64))
