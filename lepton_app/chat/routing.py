"""The address of the chat's websocket."""

from django.urls import path

from lepton_app.chat.consumers import ChatConsumer

websocket_urlpatterns = [path("ws/chat/<str:public_key>/", ChatConsumer.as_asgi())]
