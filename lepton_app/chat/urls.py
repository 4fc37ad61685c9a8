"""Addresses of the chat: the demo page, the widget's script and settings."""

from django.urls import path

from lepton_app.chat import views

app_name = "chat"
urlpatterns = [
    path("", views.demo, name="demo"),
    path("widget.js", views.widget_script, name="widget"),
    path("chat/config/<str:public_key>.json", views.widget_config, name="config"),
]
