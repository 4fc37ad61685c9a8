"""Addresses of monitoring."""

from django.urls import URLPattern, path

from monitoring import views

app_name = "monitoring"
urlpatterns: list[URLPattern] = [path("", views.show, name="dashboard")]
