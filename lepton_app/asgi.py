"""The ASGI application: HTTP through Django, websockets through Channels, models warmed up when the server starts.

Nothing that is imported here may load torch or scikit-learn; a test in a fresh process asserts it.
"""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_app.settings")
# Django must be set up before anything that imports models.
_http = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import re_path  # noqa: E402

from lepton_app.chat.consumers import UnknownSocket  # noqa: E402
from lepton_app.chat.routing import websocket_urlpatterns as chat_sockets  # noqa: E402
from lepton_app.lifespan import Lifespan  # noqa: E402
from monitoring.routing import websocket_urlpatterns as monitoring_sockets  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": _http,
        "websocket": URLRouter([*chat_sockets, *monitoring_sockets, re_path("", UnknownSocket.as_asgi())]),
        "lifespan": Lifespan(),
    }
)
