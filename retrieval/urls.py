"""Addresses of the public help pages, below ``/kb/``."""

from django.urls import path

from retrieval import views

app_name = "retrieval"
urlpatterns = [
    path("<int:article_id>/", views.article, name="article"),
    path("<int:article_id>.json", views.article_json, name="article-json"),
]
