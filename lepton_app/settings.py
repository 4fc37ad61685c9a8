"""Django's settings of Lepton: every environment variable is read here, nothing is started and nothing is written.

Each variable is described in ``docs/settings.md``; a test holds that page to this file. The defaults are those of a
safe installation on one machine: ``DEBUG`` off, only this machine's host names, PostgreSQL and Redis as embedded by
``lepton_app.embedded`` unless ``DATABASE_URL`` / ``REDIS_URL`` name others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from lepton_app import embedded
from lepton_app.lib import env

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Where things are -------------------------------------------------------------------------------------------------

DATA_DIR = env.read_path("LEPTON_DATA_DIR", default=BASE_DIR / "var")
ARTIFACTS_DIR = DATA_DIR / "artifacts"
EMBEDDED = embedded.Layout(DATA_DIR)

DATABASE_URL = env.read_url(
    "DATABASE_URL", schemes={"postgresql", "postgres"}, example="postgresql://user:password@host:5432/name"
)
REDIS_URL = env.read_url("REDIS_URL", schemes={"redis", "rediss", "unix"}, example="redis://host:6379/0")
EMBED_POSTGRES = not DATABASE_URL
EMBED_REDIS = not REDIS_URL
REDIS_URL = REDIS_URL or EMBEDDED.redis_url

# --- Security ---------------------------------------------------------------------------------------------------------

DEBUG = env.read_bool("LEPTON_DEBUG", default=False)
SECRET_KEY = env.read_secret("LEPTON_SECRET_KEY") or EMBEDDED.read_secret_key()
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "There is no secret key: set LEPTON_SECRET_KEY or LEPTON_SECRET_KEY_FILE, or run any manage.py command once, "
        f"which makes one in {EMBEDDED.secret_key_file}."
    )
SECRET_KEY_FALLBACKS = env.read_list("LEPTON_SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env.read_list("LEPTON_ALLOWED_HOSTS", default=("localhost", "127.0.0.1", "[::1]"))
CSRF_TRUSTED_ORIGINS = env.read_list("LEPTON_TRUSTED_ORIGINS")

HTTPS = env.read_bool("LEPTON_HTTPS", default=False)
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]  # probes speak plain HTTP to the process itself
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
# Only a proxy that overwrites the header may be trusted with it, so that it goes with HTTPS.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None

# --- Applications -----------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "lepton_app.apps.LeptonConfig",
    "lepton_app.learning.apps.LearningConfig",
    "lepton_app.chat.apps.ChatConfig",
    "intents.apps.IntentsConfig",
    "retrieval.apps.RetrievalConfig",
    "monitoring.apps.MonitoringConfig",
    "channels",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "lepton_app.urls"
ASGI_APPLICATION = "lepton_app.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- PostgreSQL -------------------------------------------------------------------------------------------------------

DATABASE_POOL_SIZE = env.read_int("LEPTON_DATABASE_POOL_SIZE", default=8, minimum=1, maximum=200)
_database: dict[str, Any] = dict(dj_database_url.parse(DATABASE_URL or EMBEDDED.database_url, conn_max_age=0))
# ASGI serves requests on many threads; a pool gives each a connection for the time of a request and no longer.
_database["OPTIONS"] = {
    **_database.get("OPTIONS", {}),
    "pool": {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 10},
}
_database["CONN_HEALTH_CHECKS"] = True  # after a restart of PostgreSQL the pool still holds dead connections
DATABASES = {"default": _database}

# --- Redis: cache, channel layer, broker ------------------------------------------------------------------------------

CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
}
CELERY_BROKER_URL = embedded.celery_broker_url(REDIS_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True  # the row is the job: its state is read there
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.1}  # a person waits; the sweep does not
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE_FILENAME = str(EMBEDDED.run_dir / "beat-schedule")
CELERY_TASK_ROUTES = {"lepton_app.learning.tasks.execute_run": {"queue": "training"}}
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_BEAT_SCHEDULE = {
    # A nudge can be lost with the broker; the sweeps pick up every row that waits without one.
    "sweep-training-runs": {"task": "lepton_app.learning.tasks.sweep_runs", "schedule": 15.0},
    "sweep-index-builds": {"task": "retrieval.tasks.sweep_index_builds", "schedule": 15.0},
}

# --- Accounts ---------------------------------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

# --- Languages and time -----------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "lepton_app" / "locale"]
TIME_ZONE = env.read_str("LEPTON_TIME_ZONE", default="UTC")
USE_I18N = USE_TZ = True

# --- Static files -----------------------------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(DATA_DIR / "uploads")},
    },
    "staticfiles": {"BACKEND": "servestatic.storage.CompressedManifestStaticFilesStorage"},
}

# --- Web server (``manage.py start``) ---------------------------------------------------------------------------------

HOST = env.read_str("LEPTON_HOST", default="127.0.0.1")
PORT = env.read_int("LEPTON_PORT", default=8000, minimum=1, maximum=65_535)
WEB_PROCESSES = env.read_int("LEPTON_WEB_PROCESSES", default=1, minimum=1, maximum=64)

# --- Models -----------------------------------------------------------------------------------------------------------

LEPTON_ENCODER = env.read_str("LEPTON_ENCODER")
LEPTON_ENCODER_PRECISION: Literal["int8", "fp32"] = env.read_choice(
    "LEPTON_ENCODER_PRECISION", default="int8", choices=("int8", "fp32")
)
LEPTON_MODEL_THREADS = env.read_int("LEPTON_MODEL_THREADS", default=0, minimum=0, maximum=256)

# Curves of training runs are sent there only with a key; the variable's name is the library's own.
WANDB_API_KEY = env.read_secret("WANDB_API_KEY")
WANDB_PROJECT = env.read_str("WANDB_PROJECT", default="lepton")

# --- Chat -------------------------------------------------------------------------------------------------------------

CHAT_TOKEN_DAYS = env.read_int("LEPTON_CHAT_TOKEN_DAYS", default=30, minimum=1, maximum=3650)
CHAT_MAX_MESSAGE_CHARS = env.read_int("LEPTON_CHAT_MAX_MESSAGE_CHARS", default=4000, minimum=100, maximum=20_000)

# --- Logs -------------------------------------------------------------------------------------------------------------

LOG_FORMAT = env.read_choice("LEPTON_LOG_FORMAT", default="text", choices={"text", "json"})
LOG_LEVEL = env.read_choice("LEPTON_LOG_LEVEL", default="INFO", choices={"DEBUG", "INFO", "WARNING", "ERROR"})
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": "lepton_app.lib.logs.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "uvicorn.error": {"level": "INFO"},
        "bm25s": {"level": "WARNING"},
        "faiss.loader": {"level": "WARNING"},  # tells at every start which processor it was built for
    },
}

# --- The admin's look (django-unfold) ---------------------------------------------------------------------------------


def _link(title: Any, icon: str, url_name: str, permission: str) -> dict[str, Any]:
    """Return one entry of the sidebar, shown to people who hold ``permission`` and marked on its own pages alone."""
    link = reverse_lazy(url_name)
    return {
        "title": title,
        "icon": icon,
        "link": link,
        "permission": lambda request: request.user.has_perm(permission),
        # Unfold itself looks for the address anywhere in the path: /admin/monitoring/item/ holds /monitoring/.
        "active": lambda request: request.path.startswith(str(link)),
    }


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Lepton",
    "SITE_HEADER": "Lepton",
    "SITE_SUBHEADER": _("Support desk and market monitor"),
    "SITE_SYMBOL": "forum",
    "SITE_URL": "/",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("lepton/icon.svg")},
    ],
    "DASHBOARD_CALLBACK": "lepton_app.home.dashboard",
    "SHOW_LANGUAGES": True,
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "8px",
    "STYLES": [lambda request: static("lepton/tokens.css"), lambda request: static("lepton/admin.css")],
    "COLORS": {
        # The neutrals of the same file, light to dark.
        "base": {
            "50": "#f5f7f5",
            "100": "#eff2ef",
            "200": "#dbe1dd",
            "300": "#c3ccc7",
            "400": "#a3b3ae",
            "500": "#7f8d88",
            "600": "#55635e",
            "700": "#3d4a46",
            "800": "#2c3a37",
            "900": "#151e1c",
            "950": "#0f1615",
        },
        # The shades of --lepton-accent in static/lepton/tokens.css.
        "primary": {
            "50": "#eef6f4",
            "100": "#d5eae5",
            "200": "#aed6cd",
            "300": "#7fbcaf",
            "400": "#519d8f",
            "500": "#358175",
            "600": "#28675e",
            "700": "#22534d",
            "800": "#1e433f",
            "900": "#1b3835",
            "950": "#0b201e",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": [
            {
                "title": _("Support"),
                "items": [
                    _link(_("Conversations"), "forum", "admin:chat_conversation_changelist", "chat.view_conversation"),
                    _link(_("Messages"), "chat", "admin:chat_message_changelist", "chat.view_message"),
                    _link(_("Sites"), "language", "admin:chat_site_changelist", "chat.view_site"),
                ],
            },
            {
                "title": _("Knowledge"),
                "items": [
                    _link(_("Articles"), "menu_book", "admin:retrieval_article_changelist", "retrieval.view_article"),
                    _link(_("Passages"), "segment", "admin:retrieval_passage_changelist", "retrieval.view_passage"),
                    _link(
                        _("Index builds"),
                        "deployed_code",
                        "admin:retrieval_indexbuild_changelist",
                        "retrieval.view_indexbuild",
                    ),
                ],
            },
            {
                "title": _("Learning"),
                "items": [
                    _link(_("Intents"), "category", "admin:intents_intent_changelist", "intents.view_intent"),
                    _link(_("Tasks"), "tune", "admin:learning_task_changelist", "learning.view_task"),
                    _link(_("Labels"), "label", "admin:learning_label_changelist", "learning.view_label"),
                    _link(_("Samples"), "notes", "admin:learning_sample_changelist", "learning.view_sample"),
                    _link(
                        _("Annotations"),
                        "edit_note",
                        "admin:learning_annotation_changelist",
                        "learning.view_annotation",
                    ),
                    _link(_("Snapshots"), "lock", "admin:learning_snapshot_changelist", "learning.view_snapshot"),
                    _link(_("Training runs"), "model_training", "admin:learning_run_changelist", "learning.view_run"),
                    _link(
                        _("Deployments"),
                        "rocket_launch",
                        "admin:learning_deployment_changelist",
                        "learning.view_deployment",
                    ),
                    _link(_("Shadows"), "compare_arrows", "admin:learning_shadow_changelist", "learning.view_shadow"),
                ],
            },
            {
                "title": _("Monitoring"),
                "items": [
                    _link(_("Dashboard"), "monitoring", "monitoring:dashboard", "monitoring.view_item"),
                    _link(_("News items"), "newspaper", "admin:monitoring_item_changelist", "monitoring.view_item"),
                ],
            },
            {
                "title": _("People"),
                "items": [
                    _link(_("Users"), "person", "admin:auth_user_changelist", "auth.view_user"),
                    _link(_("Groups"), "group", "admin:auth_group_changelist", "auth.view_group"),
                ],
            },
        ],
    },
}
