"""What has been labelled, what was learnt from it, and what is at work."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class Task(models.Model):
    """Something to classify: its labels, its texts and its models belong together."""

    name = models.SlugField(_("name"), max_length=50, unique=True, help_text=_("As commands name it: intent, topic."))
    title = models.CharField(_("title"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.title


class Label(models.Model):
    """One class of a task. Samples point to the row, so that a label keeps its samples when it is renamed."""

    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="labels", verbose_name=_("task"))
    name = models.CharField(_("name"), max_length=100)
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("A label that is not active is left out of the next training.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("label")
        verbose_name_plural = _("labels")
        ordering: ClassVar = ["task", "name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["task", "name"], name="label_name_once_per_task")]

    def __str__(self) -> str:
        return self.name


class Split(models.TextChoices):
    """What a text is used for: it is learnt, it steers the learning, or it measures what was learnt."""

    TRAIN = "train", pgettext_lazy("split", "Train")
    VALIDATION = "validation", _("Validation")
    HOLDOUT = "holdout", _("Hold-out")


class Sample(models.Model):
    """A text of a task, once per normalised text and what it is about, with the label that stands now.

    ``label`` and ``is_out_of_scope`` repeat what the newest annotation of staff says, or without one the newest of all,
    for lists and training; the annotations themselves are never overwritten. The text stays as it came in: personal
    data are masked on the way into a snapshot.
    """

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="samples", verbose_name=_("task"))
    text = models.TextField(_("text"))
    entity = models.CharField(
        _("about"),
        max_length=200,
        blank=True,
        help_text=_("Whom or what the label is about, where a text names several; empty: the text as a whole."),
    )
    digest = models.CharField(
        _("digest"),
        max_length=64,
        editable=False,
        help_text=_("sha256 of the normalised text and of what it is about: the same question is kept once."),
    )
    text_digest = models.CharField(
        _("text digest"),
        max_length=64,
        default="",
        editable=False,
        help_text=_("sha256 of the text alone, personal data masked: all its samples are on one side of every split."),
    )
    split = models.CharField(
        _("side"),
        max_length=10,
        choices=Split.choices,
        blank=True,
        editable=False,
        help_text=_("Given once, by the first training that meets the text, and never changed."),
    )
    language = models.CharField(_("language"), max_length=10, choices=settings.LANGUAGES)
    label = models.ForeignKey(
        Label, on_delete=models.PROTECT, null=True, blank=True, related_name="samples", verbose_name=_("label")
    )
    is_out_of_scope = models.BooleanField(
        _("out of scope"), default=False, help_text=_("The text belongs to none of the task's labels.")
    )
    is_disputed = models.BooleanField(
        _("disputed"),
        default=False,
        help_text=_("It came with labels that contradict each other: left out of training until somebody decides."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("sample")
        verbose_name_plural = _("samples")
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task", "digest"], name="sample_text_once_per_task"),
            models.CheckConstraint(
                condition=Q(label__isnull=True) | Q(is_out_of_scope=False), name="sample_label_or_out_of_scope"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["task", "label"], name="sample_by_label"),
            models.Index(fields=["task", "text_digest"], name="sample_by_text"),
            models.Index(fields=["task"], name="sample_disputed", condition=Q(is_disputed=True)),
        ]

    def __str__(self) -> str:
        return self.text[:80]


class Annotation(models.Model):
    """Who said what of a sample, and when. Rows are added, never changed."""

    class Source(models.TextChoices):
        """Where the annotation came from."""

        STARTER = "starter", _("Starter content")
        IMPORT = "import", _("Import")
        STAFF = "staff", _("Staff")

    sample = models.ForeignKey(Sample, on_delete=models.CASCADE, related_name="annotations", verbose_name=_("sample"))
    label = models.ForeignKey(
        Label, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("label")
    )
    is_out_of_scope = models.BooleanField(_("out of scope"), default=False)
    source = models.CharField(_("source"), max_length=10, choices=Source.choices)
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("annotator"),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("annotation")
        verbose_name_plural = _("annotations")
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(label__isnull=False, is_out_of_scope=False) | Q(label__isnull=True, is_out_of_scope=True),
                name="annotation_says_one_thing",
            )
        ]

    def __str__(self) -> str:
        return f"{self.sample}: {self.label or _('out of scope')}"


class Snapshot(models.Model):
    """The labelled rows of a task as they were at one moment; the rows lie in an artifact that never changes."""

    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="snapshots", verbose_name=_("task"))
    sha256 = models.CharField(
        _("sha256"), max_length=64, help_text=_("Over text, label and side of every row, in order.")
    )
    artifact = models.CharField(_("artifact"), max_length=255)
    rows = models.PositiveIntegerField(_("rows"))
    label_count = models.PositiveIntegerField(_("labels"))
    validation_rows = models.PositiveIntegerField(_("validation rows"), default=0)
    holdout_rows = models.PositiveIntegerField(_("hold-out rows"), default=0)
    out_of_scope_rows = models.PositiveIntegerField(_("out-of-scope rows"), default=0)
    disputed_rows = models.PositiveIntegerField(
        _("disputed rows"), default=0, help_text=_("Left out, because their labels contradict each other.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("snapshot")
        verbose_name_plural = _("snapshots")
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["task", "sha256"], name="snapshot_content_once")]

    def __str__(self) -> str:
        return f"{self.task.name} {self.sha256[:12]}"


class Run(models.Model):
    """One training job. The row is the job: workers claim it, and every state is visible here."""

    class Status(models.TextChoices):
        """Where the job stands."""

        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    class Method(models.TextChoices):
        """How the classifier is trained."""

        HEAD = "head", _("Linear head on the frozen encoder")
        CONTRASTIVE = "contrastive", _("Few-shot: contrastive, with LoRA")
        LORA = "lora", _("LoRA")
        ADALORA = "adalora", _("AdaLoRA")
        IA3 = "ia3", _("IA³")
        PROMPT = "prompt", _("Soft prompt")
        FULL = "full", _("All weights")
        PRETRAIN = "pretrain", _("Pre-training on the installation's own texts")

    class Verdict(models.TextChoices):
        """What the gate says of a ready run beside the model at work."""

        PASS = "pass", _("Pass")
        PERSON = "person", _("Needs a person")
        REFUSE = "refuse", _("Refuse")

    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="runs", verbose_name=_("task"))
    method = models.CharField(_("method"), max_length=20, choices=Method.choices, default=Method.HEAD)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.QUEUED)
    snapshot = models.ForeignKey(
        Snapshot, on_delete=models.PROTECT, null=True, blank=True, related_name="runs", verbose_name=_("snapshot")
    )
    config = models.JSONField(
        _("configuration"), default=dict, blank=True, help_text=_("Every option as it was when the run was requested.")
    )
    fingerprint = models.CharField(
        _("fingerprint"),
        max_length=64,
        blank=True,
        editable=False,
        help_text=_("sha256 over what decides the result: snapshot, configuration, encoder, run to start from."),
    )
    base = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="successors",
        verbose_name=_("starts from"),
        help_text=_("The run whose encoder and adapter this one goes on from."),
    )
    step = models.CharField(_("step"), max_length=200, blank=True, help_text=_("What the worker does now."))
    progress = models.JSONField(
        _("progress"),
        default=dict,
        blank=True,
        help_text=_("Steps done and in all, loss, learning rate, seconds left; as of the newest report."),
    )
    history = models.JSONField(
        _("history"), default=list, blank=True, help_text=_("Loss and validation figures as they developed.")
    )
    is_cancel_requested = models.BooleanField(_("to be cancelled"), default=False, editable=False)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0, editable=False)
    metrics = models.JSONField(_("metrics"), default=dict, blank=True)
    artifact = models.CharField(_("artifact"), max_length=255, blank=True)
    encoder_artifact = models.CharField(
        _("encoder"),
        max_length=255,
        blank=True,
        help_text=_("The artifact of the run's own encoder; empty where it uses the installation's."),
    )
    report_artifact = models.CharField(_("report"), max_length=255, blank=True)
    verdict = models.CharField(_("verdict"), max_length=10, choices=Verdict.choices, blank=True)
    gate = models.JSONField(
        _("gate"), default=dict, blank=True, help_text=_("Each check against the model at work, with its figures.")
    )
    error = models.TextField(_("error"), blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("requested by"),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    heartbeat_at = models.DateTimeField(
        _("heartbeat"),
        null=True,
        blank=True,
        help_text=_("The worker's last sign of life; silence means it was killed."),
    )
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("training run")
        verbose_name_plural = _("training runs")
        ordering: ClassVar = ["-id"]
        # Training asks for add_run; this one moves what customers meet.
        permissions: ClassVar = [
            ("deploy_run", "Can deploy a training run and roll it back"),
            ("override_gate", "Can deploy a training run against the gate"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["status"], name="run_open", condition=Q(status__in=["queued", "running"]))
        ]

    def __str__(self) -> str:
        return f"{self.task.name} #{self.pk} ({self.get_status_display()})"


class Deployment(models.Model):
    """The mark that says which run is at work. Rows are history; the one without an end is the mark."""

    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="deployments", verbose_name=_("task"))
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="deployments", verbose_name=_("run"))
    deployed_at = models.DateTimeField(_("deployed"), auto_now_add=True)
    deployed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("deployed by"),
    )
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    verdict = models.CharField(_("verdict"), max_length=10, choices=Run.Verdict.choices, blank=True)
    reason = models.TextField(
        _("reason"), blank=True, help_text=_("Why it was deployed against the gate; kept for good.")
    )

    class Meta:
        verbose_name = _("deployment")
        verbose_name_plural = _("deployments")
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task"], name="one_deployment_per_task", condition=Q(ended_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.task.name}: {_('run')} #{self.run_id}"


class Shadow(models.Model):
    """Which candidate runs beside the deployed model on live texts. Rows are history; the one without an end runs."""

    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="shadows", verbose_name=_("task"))
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="shadows", verbose_name=_("run"))
    started_at = models.DateTimeField(_("started"), auto_now_add=True)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("started by"),
    )
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    agreed = models.PositiveIntegerField(_("agreed"), default=0)
    disagreed = models.PositiveIntegerField(_("disagreed"), default=0)
    dropped = models.PositiveIntegerField(
        _("not compared"), default=0, help_text=_("Texts that came while a serving process was too busy to compare.")
    )

    class Meta:
        verbose_name = _("shadow")
        verbose_name_plural = _("shadows")
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task"], name="one_shadow_per_task", condition=Q(ended_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.task.name}: {_('run')} #{self.run_id}"


class Disagreement(models.Model):
    """A live text, personal data masked, of which the candidate said something else than the deployed model."""

    shadow = models.ForeignKey(Shadow, on_delete=models.CASCADE, related_name="disagreements", verbose_name=_("shadow"))
    text = models.TextField(_("text"))
    deployed_run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", verbose_name=_("deployed run"))
    deployed_label = models.CharField(
        _("deployed says"), max_length=100, blank=True, help_text=_("Empty: out of scope.")
    )
    deployed_confidence = models.FloatField(_("its confidence"))
    candidate_label = models.CharField(
        _("candidate says"), max_length=100, blank=True, help_text=_("Empty: out of scope.")
    )
    candidate_confidence = models.FloatField(_("its confidence"))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("disagreement")
        verbose_name_plural = _("disagreements")
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.text[:80]
