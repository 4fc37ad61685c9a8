"""A candidate beside the deployed model on live texts: what it would have said is counted, and kept where they differ.

``start`` and ``stop`` move one mark per task. Serving processes load the candidate as they load the deployed model.

Whoever has classified a live text calls ``offer`` with what the deployed model said. That costs the caller nothing: a
bounded queue of the process takes the text, or the text is dropped and counted. One thread of the process

1. lets each text rest for a moment, so that its reply has been sent before anything is computed;
2. asks the candidate, on this thread and past the queue of live requests;
3. counts agreement and disagreement in the row of the shadow, and keeps texts on which the two differ, with personal
   data masked, up to ``MAX_DISAGREEMENTS``.

Two models agree when they give a text the same label, or both turn it away as out of scope.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext

from lepton_app.learning import deployments, serving
from lepton_app.learning.classifier import Prediction
from lepton_app.learning.errors import DeploymentRefused, NotShadowed
from lepton_app.learning.models import Disagreement, Run, Shadow, Task
from lepton_app.lib.deployed import NotDeployed
from lepton_app.lib.redaction import redact

logger = logging.getLogger(__name__)

MAX_DISAGREEMENTS = 2_000
MAX_WAITING_TEXTS = 256
MAX_TEXT_CHARACTERS = 2_000
REST_SECONDS = 0.5
# So few texts are one batch of the encoder, which runs on this thread alone and leaves the others to live requests.
_BATCH_TEXTS = 16
_DROPS_WRITTEN_EVERY_SECONDS = 10.0


def start(run: Run, *, by: User | None = None) -> Shadow:
    """Let the run's model run beside the deployed one, in place of any other; the same run again changes nothing.

    Raises ``RunNotReady`` or ``DeploymentRefused`` where the model could not be deployed either, and when no other
    model is at work.
    """
    run = Run.objects.select_related("task", "snapshot").get(pk=run.pk)
    deployments.check_usable(run)
    with transaction.atomic():
        Task.objects.select_for_update(no_key=True).get(pk=run.task_id)
        at_work = deployments.current(run.task.name)
        if at_work is None:
            raise DeploymentRefused(
                gettext("No model of '%(task)s' is at work that run #%(number)s could be compared with.")
                % {"task": run.task.name, "number": run.pk}
            )
        if at_work.run_id == run.pk:
            raise DeploymentRefused(
                gettext("Run #%(number)s is at work itself; it has nothing to be compared with.") % {"number": run.pk}
            )
        active = Shadow.objects.filter(task_id=run.task_id, ended_at__isnull=True).first()
        if active is not None and active.run_id == run.pk:
            return active
        if active is not None:
            _end(active)
        return Shadow.objects.create(task_id=run.task_id, run=run, started_by=by)


def stop(task: Task, *, by: User | None = None) -> Shadow:
    """End the task's shadow and return it with its counts. Raises ``NotShadowed``."""
    with transaction.atomic():
        Task.objects.select_for_update(no_key=True).get(pk=task.pk)
        active = current(task.name)
        if active is None:
            raise NotShadowed(gettext("No candidate runs beside the model of '%(task)s'.") % {"task": task.name})
        _end(active)
    logger.info("shadow of %s, run #%s, ended by %s", task.name, active.run_id, by or "the operator")
    return active


def current(task_name: str) -> Shadow | None:
    """Return the shadow that runs, or None."""
    return Shadow.objects.filter(task__name=task_name, ended_at__isnull=True).select_related("run", "task").first()


def offer(task_name: str, run_id: int, texts: Sequence[str], predictions: Sequence[Prediction]) -> None:
    """Show live texts, and what the deployed run ``run_id`` said of them, to the candidate; returns at once.

    Call it when the answer is on its way: after the reply is stored, after a batch is committed. Never raises for
    want of a candidate, a database or room.
    """
    observer().offer(task_name, run_id, texts, predictions)


@cache
def observer() -> Observer:
    """Return the one observer of this process."""
    return Observer()


@dataclass(frozen=True)
class Said:
    """What a model said of a text: a label, empty for out of scope, and the probability of its first label."""

    label: str
    confidence: float

    @classmethod
    def by(cls, prediction: Prediction) -> Said:
        """Read a prediction."""
        return cls(prediction.labels[0] if prediction.in_scope else "", prediction.probabilities[0])


@dataclass(frozen=True)
class _Seen:
    text: str
    run_id: int
    said: Said


@dataclass(frozen=True)
class _Waiting:
    task_name: str
    due_at: float
    texts: tuple[_Seen, ...]


class Observer:
    """The queue and the thread of one process; ``clock`` counts seconds and never runs backwards.

    The thread begins with the first text that is offered, and ends with the process.
    """

    def __init__(
        self,
        *,
        rest_seconds: float = REST_SECONDS,
        most_waiting: int = MAX_WAITING_TEXTS,
        clock: Callable[[], float] = time.monotonic,
        is_threaded: bool = True,
    ) -> None:
        self._rest_seconds = rest_seconds
        self._most_waiting = most_waiting
        self._clock = clock
        self._is_threaded = is_threaded
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._waiting_texts = 0
        self._dropped: Counter[str] = Counter()  # by task, not yet written down
        self._write_drops_at = 0.0

    def offer(self, task_name: str, run_id: int, texts: Sequence[str], predictions: Sequence[Prediction]) -> None:
        """Take texts with what the deployed run said of them; drop and count those for which there is no room."""
        seen = [_Seen(text, run_id, Said.by(said)) for text, said in zip(texts, predictions, strict=True)]
        with self._changed:
            room = self._most_waiting - self._waiting_texts
            self._dropped[task_name] += len(seen[room:])
            seen = seen[:room]
            if not seen:
                return
            due_at = self._clock() + self._rest_seconds
            for start in range(0, len(seen), _BATCH_TEXTS):
                self._queue.append(_Waiting(task_name, due_at, tuple(seen[start : start + _BATCH_TEXTS])))
            self._waiting_texts += len(seen)
            if self._is_threaded and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
            self._changed.notify()

    def step(self) -> bool:
        """Compare the texts that have rested and return True; False when there is none. For the thread, and tests."""
        task_name, seen = self._take()
        if not seen:
            return False
        try:
            self._compare(task_name, seen)
        except Exception:  # a candidate or a database that fails costs the comparison, never the process
            logger.exception("shadow of %s: %d texts not compared", task_name, len(seen))
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._changed.wait()
                rest = self._queue[0].due_at - self._clock() if self._queue else 0.0
            if rest > 0:
                time.sleep(rest)
            try:
                self.step()
            finally:
                connection.close()

    def _take(self) -> tuple[str, list[_Seen]]:
        """Take what has rested, of one task, up to a batch."""
        task_name, seen = "", list[_Seen]()
        with self._changed:
            now = self._clock()
            while self._queue and self._queue[0].due_at <= now:
                first = self._queue[0]
                if seen and (first.task_name != task_name or len(seen) + len(first.texts) > _BATCH_TEXTS):
                    break
                task_name = first.task_name
                seen += first.texts
                self._queue.popleft()
                self._waiting_texts -= len(first.texts)
        return task_name, seen

    def _compare(self, task_name: str, seen: list[_Seen]) -> None:
        try:
            candidate = serving.shadowed(task_name).get()
        except NotDeployed:
            with self._changed:
                self._dropped.pop(task_name, None)  # nobody wanted to see them
            return
        # A shadow that was deployed meanwhile has nothing to be compared with.
        seen = [one for one in seen if one.run_id != candidate.run_id]
        if seen:
            model = candidate.model
            # Past the service's queue, which live requests wait in.
            rows = model.service.encoder.encode([one.text for one in seen])
            said = [Said.by(prediction) for prediction in model.classify([one.text for one in seen], rows)]
            _record(candidate.shadow_id, seen, said)
        self._write_drops(task_name, candidate.shadow_id)

    def _write_drops(self, task_name: str, shadow_id: int) -> None:
        now = self._clock()
        with self._changed:
            if now < self._write_drops_at or not self._dropped[task_name]:
                return
            count = self._dropped.pop(task_name)
            self._write_drops_at = now + _DROPS_WRITTEN_EVERY_SECONDS
        logger.warning("shadow of %s: %d texts came while it was busy, and were not compared", task_name, count)
        Shadow.objects.filter(pk=shadow_id).update(dropped=F("dropped") + count)


@transaction.atomic
def _record(shadow_id: int, seen: Sequence[_Seen], said: Sequence[Said]) -> None:
    """Count the comparisons, and keep those that differ while there is room; nothing once the shadow has ended."""
    differing = [(one, mine) for one, mine in zip(seen, said, strict=True) if one.said.label != mine.label]
    counted = Shadow.objects.filter(pk=shadow_id, ended_at__isnull=True).update(
        agreed=F("agreed") + len(seen) - len(differing), disagreed=F("disagreed") + len(differing)
    )
    if not counted or not differing:
        return
    # The update holds the row to the end of the transaction, so that all processes together keep to the limit.
    kept_before = Shadow.objects.values_list("disagreed", flat=True).get(pk=shadow_id) - len(differing)
    Disagreement.objects.bulk_create(
        Disagreement(
            shadow_id=shadow_id,
            text=redact(one.text)[:MAX_TEXT_CHARACTERS],
            deployed_run_id=one.run_id,
            deployed_label=one.said.label,
            deployed_confidence=one.said.confidence,
            candidate_label=mine.label,
            candidate_confidence=mine.confidence,
        )
        for one, mine in differing[: max(0, MAX_DISAGREEMENTS - kept_before)]
    )


def _end(shadow: Shadow) -> None:
    shadow.ended_at = timezone.now()
    shadow.save(update_fields=["ended_at"])
