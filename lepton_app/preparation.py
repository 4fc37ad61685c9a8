"""Everything that must be true before the processes start; each step does nothing when it is done already.

1. tables are migrated, roles hold their permissions, static files and translations are in place;
2. an empty database gets the starter content;
3. the encoder is exported to ONNX, an intent classifier is trained and deployed, the sentiment model in the box is
   deployed, an index is built, where missing;
4. an administrator is made when there is no staff user.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from lepton_app import roles, starter
from lepton_app.progress import Step, Steps

if TYPE_CHECKING:
    from lepton_app.learning.models import Run, Task

# Any number will do, as long as nobody else uses it for something else: two preparations must not run at once.
_ADVISORY_LOCK = 5_138_008
_MOST_SEEDS = 5  # a classifier that cannot be loaded is trained again so often


class PreparationError(Exception):
    """The installation cannot be made ready; the message says what to do."""


@dataclass(frozen=True)
class Administrator:
    """The account that was made; the password is known here and nowhere else."""

    name: str
    password: str


def prepare(steps: Steps) -> Administrator | None:
    """Bring the installation into a state in which every process can work; return a new administrator, if any."""
    with _alone():
        _migrate(steps)
        roles.sync()
        _collect_static_files(steps)
        if starter.is_empty():
            with steps.step("Starter content") as step:
                loaded = starter.load()
                step.result = f"{loaded.utterances} utterances, {loaded.articles} articles, {loaded.items} news items"
        _site()
        _export_encoder(steps)
        _train_intents(steps)
        _deploy_sentiment(steps)
        _build_index(steps)
        return _administrator()


@contextmanager
def _alone() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_LOCK])


def _migrate(steps: Steps) -> None:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        with steps.step("Database") as step:
            call_command("migrate", interactive=False, verbosity=0)
            step.result = f"{len(pending)} migrations applied"


def _collect_static_files(steps: Steps) -> None:
    with steps.step("Static files"):
        call_command("collectstatic", interactive=False, verbosity=0)


def _site() -> None:
    from lepton_app.chat.sites import ensure_site

    ensure_site()


def _export_encoder(steps: Steps) -> None:
    from lepton_app.lib.encoder_export import current_encoder

    source = settings.LEPTON_ENCODER or None
    if current_encoder(settings.ARTIFACTS_DIR, source) is not None:
        return
    from lepton_app.lib.encoder_export import export_encoder

    settings.ARTIFACTS_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    with steps.step("Encoder exported to ONNX") as step:
        step.result = export_encoder(source, settings.ARTIFACTS_DIR, progress=step).name


def _train_intents(steps: Steps) -> None:
    from intents import classifier
    from intents.classifier import TASK
    from lepton_app.learning import deployments
    from lepton_app.learning.errors import LearningError, NothingToLearn
    from lepton_app.learning.models import Run, Task

    # A model that another encoder or an older format left behind cannot serve: another one is trained in its place.
    task = Task.objects.filter(name=TASK).first()
    if task is None or classifier.current() is not None:
        return
    with steps.step("Intent classifier") as step:
        try:
            run = _run_to_deploy(task, step)
        except NothingToLearn as error:
            step.result = str(error)  # an installation without labels is a valid one: the chat searches
            return
        if run.status == Run.Status.RUNNING:
            step.result = f"run #{run.pk} is being trained; deploy it when it is ready"
            return
        if run.status != Run.Status.READY:
            raise PreparationError(f"The intent classifier could not be trained: {run.error}")
        accuracy = run.metrics.get("accuracy")
        figure = "" if accuracy is None else f"accuracy {accuracy:.3f} on {run.metrics['holdout_rows']} held-out texts"
        if run.verdict == Run.Verdict.REFUSE:
            step.result = f"run #{run.pk} is ready and not deployed, for the gate refuses it; {figure}"
            return
        try:
            deployments.deploy(run, reason="Deployed when the installation was prepared: no model could serve.")
        except LearningError as error:
            raise PreparationError(f"The intent classifier cannot be put to work: {error}") from error
        step.result = figure or "too few texts to hold any out"


def _run_to_deploy(task: Task, step: Step) -> Run:
    """Return a run of the task's labels as they are now: an earlier one that can serve, else a new one, trained here.

    Raises ``NothingToLearn``.
    """
    from lepton_app.learning import deployments, runs
    from lepton_app.learning.errors import LearningError, NothingNew
    from lepton_app.learning.models import Run

    seed = 0
    while True:
        try:
            number = runs.request_run(task, changes={"seed": seed}).pk
        except NothingNew as known:
            number = known.run_id
        runs.execute(number, progress=step)
        run = Run.objects.get(pk=number)
        if run.status != Run.Status.READY:
            return run
        try:
            deployments.check_usable(run)
        except LearningError:  # its files are damaged: the same once more, under another seed
            seed += 1
            if seed > _MOST_SEEDS:
                raise
            continue
        return run


def _deploy_sentiment(steps: Steps) -> None:
    from lepton_app.learning.errors import LearningError
    from lepton_app.lib.artifacts import ArtifactError
    from lepton_app.lib.encoder_export import ExportError
    from monitoring.starter.model import deploy_starter_model, is_needed

    if not is_needed():
        return
    with steps.step("Sentiment model") as step:
        try:
            deployed = deploy_starter_model(progress=step)
        except (LearningError, ArtifactError, ExportError) as error:
            raise PreparationError(f"The sentiment model could not be put to work: {error}") from error
        if deployed is not None:
            metrics = deployed.run.metrics
            step.result = f"accuracy {metrics['accuracy']:.3f} on {metrics['holdout_rows']} held-out texts"


def _build_index(steps: Steps) -> None:
    from lepton_app.lib.encoding import encoder_service
    from retrieval.indexing import IndexingError, build_index
    from retrieval.models import Article
    from retrieval.serving import current_index

    if not Article.objects.filter(published=True).exists():
        return
    index = current_index()
    if index is not None and index.encoder_version == encoder_service().encoder.version:
        return
    with steps.step("Search index") as step:
        try:
            build = build_index(progress=step)
        except IndexingError as error:
            raise PreparationError(f"The search index could not be built: {error}") from error
        step.result = f"{build.passages} passages"


def _administrator() -> Administrator | None:
    users = get_user_model()
    if users.objects.filter(is_staff=True, is_active=True).exists():
        return None
    made = Administrator(name="admin", password=secrets.token_urlsafe(12))
    user, _new = users.objects.get_or_create(username=made.name)
    user.is_staff = user.is_superuser = user.is_active = True
    user.set_password(made.password)
    user.save()
    return made
