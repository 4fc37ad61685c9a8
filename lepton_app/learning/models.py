"""What has been labelled, what was learnt from it, and what is at work."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


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


class Sample(models.Model):
    """A text of a task, once per normalised text, with the label that stands now.

    ``label`` and ``is_out_of_scope`` repeat what the newest annotation says, for lists and training; the annotations
    themselves are never overwritten.
    """

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="samples", verbose_name=_("task"))
    text = models.TextField(_("text"))
    digest = models.CharField(
        _("digest"),
        max_length=64,
        editable=False,
        help_text=_("sha256 of the normalised text: the same text is kept once."),
    )
    language = models.CharField(_("language"), max_length=10, choices=settings.LANGUAGES)
    label = models.ForeignKey(
        Label, on_delete=models.PROTECT, null=True, blank=True, related_name="samples", verbose_name=_("label")
    )
    is_out_of_scope = models.BooleanField(
        _("out of scope"), default=False, help_text=_("The text belongs to none of the task's labels.")
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
        indexes: ClassVar = [models.Index(fields=["task", "label"], name="sample_by_label")]

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
    sha256 = models.CharField(_("sha256"), max_length=64, help_text=_("Over text and label of every row, in order."))
    artifact = models.CharField(_("artifact"), max_length=255)
    rows = models.PositiveIntegerField(_("rows"))
    label_count = models.PositiveIntegerField(_("labels"))
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

    class Method(models.TextChoices):
        """How the classifier is trained."""

        HEAD = "head", _("Linear head on the frozen encoder")

    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="runs", verbose_name=_("task"))
    method = models.CharField(_("method"), max_length=20, choices=Method.choices, default=Method.HEAD)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.QUEUED)
    snapshot = models.ForeignKey(
        Snapshot, on_delete=models.PROTECT, null=True, blank=True, related_name="runs", verbose_name=_("snapshot")
    )
    step = models.CharField(_("step"), max_length=200, blank=True, help_text=_("What the worker does now."))
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0, editable=False)
    metrics = models.JSONField(_("metrics"), default=dict, blank=True)
    artifact = models.CharField(_("artifact"), max_length=255, blank=True)
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
        permissions: ClassVar = [("deploy_run", "Can deploy a training run and roll it back")]
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

    class Meta:
        verbose_name = _("deployment")
        verbose_name_plural = _("deployments")
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task"], name="one_deployment_per_task", condition=Q(ended_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.task.name}: {_('run')} #{self.run_id}"
