"""The deployed model in a serving process: which encoder it reads, what is refused, and what is freed."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from lepton_app.learning import serving
from lepton_app.learning.model import load_model
from lepton_app.learning.models import Deployment, Run, Task
from lepton_app.lib import artifacts, encoding
from lepton_app.lib.artifacts import ArtifactCorrupt, ArtifactError, ArtifactIncompatible, ArtifactMissing
from lepton_app.lib.deployed import NotDeployed
from tests.learning import toys

pytestmark = pytest.mark.django_db


@pytest.fixture
def task() -> Task:
    return Task.objects.create(name="intent", title="Intent")


def shared() -> Path:
    return encoding.encoder_directory()


def put_to_work(run: Run) -> None:
    from django.utils import timezone

    Deployment.objects.filter(task=run.task, ended_at__isnull=True).update(ended_at=timezone.now())
    Deployment.objects.create(task=run.task, run=run)


def swap(run: Run, holder: serving.Holder) -> None:
    put_to_work(run)
    holder.refresh(spared_seconds=60)


def encoder_threads() -> int:
    return sum(thread.name.startswith("encoder") for thread in threading.enumerate())


async def test_a_model_reads_the_shared_encoder_or_its_own(toy_root: Path) -> None:
    common = toys.publish_classifier(toy_root, shared())
    brought = toys.publish_encoder(toy_root, seed=1)
    own = toys.publish_classifier(toy_root, brought, precision="fp32")
    first = load_model(toy_root, common.name)
    second = load_model(toy_root, own.name, brought.name)
    assert (first.owns_encoder, second.owns_encoder) == (False, True)
    assert first.service is encoding.encoder_service()
    assert second.service.encoder.directory == brought
    for model in (first, second):
        assert [said.labels[0] for said in model.predict_sync(["lost my card", "what fees"])] == ["card", "fees"]
        assert await model.predict(["lost my card"]) == model.predict_sync(["lost my card"])
        model.close()
    assert first.predict_sync(["what fees"])[0].labels[0] == "fees"  # the shared encoder goes on
    with pytest.raises(RuntimeError, match="closed"):
        second.predict_sync(["what fees"])


def change_manifest(folder: Path, old: bytes, new: bytes) -> None:
    content = (folder / artifacts.MANIFEST).read_bytes()
    assert old in content
    (folder / artifacts.MANIFEST).write_bytes(content.replace(old, new))


def replace_with_other_labels(root: Path, encoder: Path, classifier: Path) -> None:
    other = toys.publish_classifier(root, encoder, precision="fp32", names=["up", "down"])
    shutil.rmtree(classifier)
    shutil.copytree(other, classifier)


BREAKS: dict[str, tuple[Callable[[Path, Path, Path], object], type[ArtifactError]]] = {
    "a weight changed": (lambda root, e, c: toys.damage(c / "arrays.safetensors"), ArtifactCorrupt),
    "the encoder's weights changed": (lambda root, e, c: toys.damage(e / "model.onnx"), ArtifactCorrupt),
    "a file is gone": (lambda root, e, c: (c / "vocabulary.txt").unlink(), ArtifactMissing),
    "the encoder's file is gone": (lambda root, e, c: (e / "model.onnx").unlink(), ArtifactMissing),
    "the classifier is gone": (lambda root, e, c: shutil.rmtree(c), ArtifactMissing),
    "the encoder is gone": (lambda root, e, c: shutil.rmtree(e), ArtifactMissing),
    "a manifest states another sha256": (
        lambda root, e, c: change_manifest(c, b'"sha256": "', b'"sha256": "0'),
        ArtifactCorrupt,
    ),
    "a model of other labels lies in its place": (
        lambda root, e, c: replace_with_other_labels(root, e, c),
        ArtifactCorrupt,
    ),
    "the manifest is no JSON": (lambda root, e, c: (c / "manifest.json").write_text("{"), ArtifactCorrupt),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_artifact_is_refused_by_name_and_leaves_no_thread(toy_root: Path, what: str) -> None:
    breaks, error = BREAKS[what]
    encoder = toys.publish_encoder(toy_root, seed=1)
    classifier = toys.publish_classifier(toy_root, encoder, precision="fp32")
    load_model(toy_root, classifier.name, encoder.name).close()
    threads = encoder_threads()
    breaks(toy_root, encoder, classifier)
    with pytest.raises(error):
        load_model(toy_root, classifier.name, encoder.name)
    gc.collect()
    assert encoder_threads() <= threads


def test_a_classifier_of_another_encoder_is_refused(toy_root: Path) -> None:
    one, other = toys.publish_encoder(toy_root, seed=1), toys.publish_encoder(toy_root, seed=2)
    classifier = toys.publish_classifier(toy_root, one, precision="fp32")
    with pytest.raises(ArtifactIncompatible, match="fitted on the rows of encoder toy-1-fp32"):
        load_model(toy_root, classifier.name, other.name)
    with pytest.raises(ArtifactIncompatible, match="would get those of toy-0-int8"):
        load_model(toy_root, classifier.name)


def test_an_encoder_that_no_runtime_reads_is_refused(toy_root: Path) -> None:
    good = toys.publish_encoder(toy_root, seed=1)
    classifier = toys.publish_classifier(toy_root, good, precision="fp32")
    meta = dict(artifacts.peek(good).meta)

    def write(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"no model")
        shutil.copy(good / "tokenizer.json", folder)

    bad = artifacts.publish(toy_root, kind="encoder", format_version=1, meta=meta, write=write)
    with pytest.raises(ArtifactIncompatible):  # the version of an encoder names its weights
        load_model(toy_root, classifier.name, bad.name)
    nameless = artifacts.publish(
        toy_root, kind="encoder", format_version=1, meta={"name": "toy"}, write=lambda folder: write(folder)
    )
    with pytest.raises(ArtifactIncompatible, match="precision"):
        load_model(toy_root, classifier.name, nameless.name)


def test_the_holder_serves_what_is_deployed_and_says_so(toy_root: Path, task: Task) -> None:
    holder = serving.served("intent")
    assert serving.served("intent") is holder
    with pytest.raises(NotDeployed):
        holder.get()
    first = toys.ready_run(task, toy_root, shared())
    own = toys.publish_encoder(toy_root, seed=1)
    second = toys.ready_run(task, toy_root, own, is_own=True)
    swap(first, holder)
    assert holder.get().version == f"run-{first.pk}/{first.artifact}"
    swap(second, holder)
    at_work = holder.get()
    assert (at_work.task, at_work.run_id, at_work.model.owns_encoder) == ("intent", second.pk, True)
    state = serving.states()["intent"]
    assert state.key == serving.Key(second.pk, second.artifact, second.encoder_artifact)
    assert state.since is not None
    assert state.error is None


@pytest.mark.parametrize("what", BREAKS)
def test_a_model_that_breaks_before_it_is_loaded_leaves_the_one_before_at_work(
    toy_root: Path, task: Task, what: str
) -> None:
    good = toys.ready_run(task, toy_root, shared())
    own = toys.publish_encoder(toy_root, seed=1)
    bad = toys.ready_run(task, toy_root, own, is_own=True)
    holder = serving.served("intent")
    swap(good, holder)
    breaks, error = BREAKS[what]
    breaks(toy_root, own, toy_root / bad.artifact)
    swap(bad, holder)
    assert holder.get().run_id == good.pk
    assert holder.get().model.predict_sync(["lost my card"])[0].labels[0] == "card"
    state = holder.state
    assert isinstance(state.error, error)
    assert (state.key, state.failed_key) == (
        serving.Key(good.pk, good.artifact, ""),
        serving.Key(bad.pk, bad.artifact, own.name),
    )


@pytest.mark.parametrize("what", BREAKS)
def test_a_model_that_breaks_while_it_serves_goes_on_serving(toy_root: Path, task: Task, what: str) -> None:
    own = toys.publish_encoder(toy_root, seed=1)
    run = toys.ready_run(task, toy_root, own, is_own=True)
    holder = serving.served("intent")
    swap(run, holder)
    before = holder.get().model.predict_sync(["lost my card"])
    BREAKS[what][0](toy_root, own, toy_root / run.artifact)
    holder.refresh(spared_seconds=60)
    assert holder.get().model.predict_sync(["lost my card"]) == before


def test_an_old_encoder_of_its_own_ends_with_the_last_call_that_uses_it(toy_root: Path, task: Task) -> None:
    encoders = [toys.publish_encoder(toy_root, seed=seed) for seed in (1, 2)]
    runs = [toys.ready_run(task, toy_root, encoder, is_own=True) for encoder in encoders]
    holder = serving.served("intent")
    swap(runs[0], holder)
    in_flight: serving.Served | None = holder.get()
    assert in_flight is not None
    service = weakref.ref(in_flight.model.service)
    threads = encoder_threads()
    for turn in range(10):
        swap(runs[1 - turn % 2], holder)
    assert in_flight.model.predict_sync(["lost my card"])[0].labels[0] == "card"
    assert service() is not None
    del in_flight
    swap(runs[1], holder)
    assert service() is None
    deadline = threading.Event()
    for _ in range(200):
        if encoder_threads() <= threads:
            break
        deadline.wait(0.02)
    assert encoder_threads() <= threads
