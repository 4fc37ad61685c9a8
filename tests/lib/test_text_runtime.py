from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_app.lib import artifacts
from lepton_app.lib.artifacts import ArtifactCorrupt, ArtifactIncompatible, ArtifactMissing
from lepton_app.lib.text_runtime import EncoderClosed, EncoderService, Rows, TextEncoder, plan_batches


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 2000))
def test_batches_hold_each_text_once_and_keep_to_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(plan_batches(lengths, batch_tokens=budget))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[position] for position in batch) <= budget
    longest = [max(lengths[position] for position in batch) for batch in batches]
    assert longest == sorted(longest)


class CountingEncoder:
    """Stands in for an encoder: a row tells its text, and each call is counted and can be held up."""

    dimension = 2

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.free = threading.Event()
        self.free.set()
        self.started = threading.Event()

    def encode(self, texts: Sequence[str]) -> Rows:
        self.calls.append(list(texts))
        self.started.set()
        assert self.free.wait(10)
        if "bad" in texts:
            raise ValueError("bad text")
        return np.array([[len(text), hash(text) % 1000] for text in texts], dtype=np.float32).reshape(-1, 2)


@pytest.fixture
def counting() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def service(counting: CountingEncoder) -> Iterator[EncoderService]:
    service = EncoderService(counting, most_texts=8)  # type: ignore[arg-type]  # what the service uses of an encoder
    yield service
    counting.free.set()
    service.close()


async def hold_up(service: EncoderService, counting: CountingEncoder) -> asyncio.Task[Rows]:
    """Start a request that keeps the encoder busy until ``counting.free`` is set."""
    counting.free.clear()
    task = asyncio.create_task(service.encode(["first"]))
    await asyncio.to_thread(counting.started.wait, 10)
    return task


async def test_requests_that_wait_are_joined_and_get_their_own_rows(
    service: EncoderService, counting: CountingEncoder
) -> None:
    first = await hold_up(service, counting)
    waiting = [asyncio.create_task(service.encode([f"text {n}", "x" * n])) for n in range(3)]
    await asyncio.sleep(0.05)
    counting.free.set()
    rows = await asyncio.gather(first, *waiting)
    assert counting.calls == [["first"], ["text 0", "", "text 1", "x", "text 2", "xx"]]
    assert [row[:, 0].tolist() for row in rows] == [[5], [6, 0], [6, 1], [6, 2]]


async def test_a_joined_batch_is_bounded_and_a_large_request_goes_whole(
    service: EncoderService, counting: CountingEncoder
) -> None:
    first = await hold_up(service, counting)
    waiting = [asyncio.create_task(service.encode(["t"] * size)) for size in (5, 3, 1, 20)]
    await asyncio.sleep(0.05)
    counting.free.set()
    await asyncio.gather(first, *waiting)
    assert [len(call) for call in counting.calls] == [1, 8, 1, 20]


async def test_a_request_that_fails_does_not_fail_its_neighbours(
    service: EncoderService, counting: CountingEncoder
) -> None:
    first = await hold_up(service, counting)
    waiting = [asyncio.create_task(service.encode([text])) for text in ("good", "bad", "fine")]
    await asyncio.sleep(0.05)
    counting.free.set()
    await first
    good, bad, fine = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(bad, ValueError)
    assert not isinstance(good, BaseException)
    assert not isinstance(fine, BaseException)
    assert (good[0, 0], fine[0, 0]) == (4, 4)


async def test_a_cancelled_request_leaves_the_queue(service: EncoderService, counting: CountingEncoder) -> None:
    first = await hold_up(service, counting)
    gone, stays = (asyncio.create_task(service.encode([text])) for text in ("gone", "stays"))
    await asyncio.sleep(0.05)
    gone.cancel()
    await asyncio.sleep(0.05)
    counting.free.set()
    await asyncio.gather(first, stays)
    assert counting.calls == [["first"], ["stays"]]


async def test_no_texts_are_no_trouble(service: EncoderService) -> None:
    assert (await service.encode([])).shape == (0, 2)


async def test_a_closed_service_finishes_what_waits_and_takes_no_more(
    service: EncoderService, counting: CountingEncoder
) -> None:
    first = await hold_up(service, counting)
    waiting = asyncio.create_task(service.encode(["waits"]))
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(asyncio.to_thread(service.close))
    await asyncio.sleep(0.05)
    counting.free.set()
    await closing
    assert (await first).shape == (1, 2)
    assert (await waiting).shape == (1, 2)
    with pytest.raises(EncoderClosed):
        service.encode_sync(["late"])
    service.close()


def test_threads_without_a_loop_are_served_too(service: EncoderService) -> None:
    assert service.encode_sync(["four"])[0, 0] == 4


def test_a_folder_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing):
        TextEncoder(tmp_path / "nowhere")
    other = artifacts.publish(
        tmp_path,
        kind="toy",
        format_version=1,
        meta={},
        write=lambda directory: _write(directory / "a", b"a"),
    )
    with pytest.raises(ArtifactIncompatible):
        TextEncoder(other)


LENGTHS = (1, 2, 3, 5, 8, 13, 30, 60, 120, 200, 254, 256, 400)
MIXED = [" ".join(["account", "card", "pay", "卡", "transfer"][n % 5] for n in range(size)) for size in LENGTHS]


@pytest.fixture(scope="module")
def fp32(encoder_folder: Path) -> TextEncoder:
    return TextEncoder(encoder_folder, precision="fp32", threads=2)


@pytest.fixture(scope="module")
def int8(encoder_folder: Path) -> TextEncoder:
    return TextEncoder(encoder_folder, precision="int8", threads=2)


@pytest.mark.weights
class TestRealEncoder:
    def test_every_text_of_a_mixed_batch_agrees_with_torch(self, fp32: TextEncoder) -> None:
        from sentence_transformers import SentenceTransformer

        from lepton_app.lib.encoder_export import wheel_folder

        torch_encoder = SentenceTransformer(str(wheel_folder()), device="cpu")
        torch_encoder.max_seq_length = 256
        expected = torch_encoder.encode(
            MIXED, batch_size=len(MIXED), normalize_embeddings=True, show_progress_bar=False
        )
        together = fp32.encode(MIXED, batch_tokens=1_000_000)
        cosines = np.einsum("nd,nd->n", np.asarray(expected), together)
        assert cosines.min() >= 0.9999

    def test_rows_are_unit_float32_in_the_order_of_the_texts(self, fp32: TextEncoder) -> None:
        order = [7, 0, 12, 3, 3, 9]
        rows = fp32.encode([MIXED[place] for place in order])
        alone = np.concatenate([fp32.encode([MIXED[place]]) for place in order])
        assert rows.dtype == np.float32
        assert rows.shape == (6, 384)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(rows, alone, atol=1e-5)

    def test_int8_rows_are_near(self, fp32: TextEncoder, int8: TextEncoder) -> None:
        texts = ["How do I locate my card?", "I want to close my account", "why was my top-up refused", "汇率是多少"]
        cosines = np.einsum("nd,nd->n", fp32.encode(texts), int8.encode(texts))
        assert cosines.min() > 0.97
        assert int8.version != fp32.version
        assert int8.version.startswith("all-MiniLM-L6-v2-int8-")

    def test_no_text_and_empty_text(self, int8: TextEncoder) -> None:
        assert int8.encode([]).shape == (0, 384)
        rows = int8.encode(["", "   ", "\x00", "hello"])
        assert np.isfinite(rows).all()
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)

    def test_a_very_long_text_is_cut_and_costs_little(self, fp32: TextEncoder) -> None:
        import time

        start = time.perf_counter()
        rows = fp32.encode(["card " * 200_000, "card " * 300])
        assert time.perf_counter() - start < 5
        np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)

    async def test_concurrent_requests_get_the_rows_they_would_get_alone(self, fp32: TextEncoder) -> None:
        service = EncoderService(fp32)
        try:
            together = await asyncio.gather(*(service.encode([text, text[:20]]) for text in MIXED))
        finally:
            service.close()
        for text, rows in zip(MIXED, together, strict=True):
            np.testing.assert_allclose(rows, fp32.encode([text, text[:20]]), atol=1e-5)

    def test_a_damaged_model_is_not_loaded(self, encoder_folder: Path, tmp_path: Path) -> None:
        import shutil

        copy = tmp_path / encoder_folder.name
        shutil.copytree(encoder_folder, copy)
        with (copy / "model_int8.onnx").open("r+b") as stream:
            stream.seek(1_000_000)
            stream.write(b"\x01\x02\x03")
        encoder = TextEncoder(copy)
        with pytest.raises(ArtifactCorrupt):
            encoder.warm_up()

    def test_bad_settings_are_refused(self, encoder_folder: Path) -> None:
        with pytest.raises(ValueError, match="precision"):
            TextEncoder(encoder_folder, precision="fp16")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="threads"):
            TextEncoder(encoder_folder, threads=-1)
