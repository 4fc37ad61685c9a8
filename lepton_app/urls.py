"""The project's addresses."""

from django.contrib import admin
from django.urls import include, path

from lepton_app import health

urlpatterns = [
    path("", include("lepton_app.chat.urls")),
    path("kb/", include("retrieval.urls")),
    path("monitoring/", include("monitoring.urls")),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("readyz/models", health.models_at_work, name="models-at-work"),
]
