"""Addresses of the chat: the demo page, the widget's script and settings."""

from django.urls import URLPattern

app_name = "chat"
urlpatterns: list[URLPattern] = []
