"""The Celery application: jobs that a person or the clock starts. The row is the job, the queue a nudge."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_app.settings")

app = Celery("lepton_app")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
