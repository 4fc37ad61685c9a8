"""The admin's first page: what needs somebody, what is at work, how the last week went, and what to do first.

Each part is asked for only when the person may open the page that it links to. Every query is bounded by an index or
by a table that stays small, and there are as many with a million messages as with none.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

import redis
from django.conf import settings
from django.contrib.auth.models import AbstractUser, User
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.db.models.fields.json import KT
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext
from redis.backoff import NoBackoff
from redis.retry import Retry

from intents import classifier
from lepton_app import health
from lepton_app.chat import sites
from lepton_app.chat.models import Conversation, Message, Site
from lepton_app.chat.transcripts import route_name
from lepton_app.learning import deployments, reports
from lepton_app.learning.models import Run, Sample
from lepton_app.lib.stacked_bars import Segment, stack
from monitoring.models import Item
from monitoring.stream import DEAD_LETTERS_SUFFIX, ITEMS_STREAM
from retrieval.models import Article, IndexBuild
from retrieval.starter_content import FOLDER as STARTER_ARTICLES

DAYS = 7
# What the assistant's replies are, from the bottom of a bar to its top; see ``chat.replies``.
ROUTES = ("intent", "answer", "clarify", "refusal", "unavailable")
FAILURES_FOR = timedelta(days=1)
SILENT_AFTER = timedelta(days=1)
STUCK_AFTER = timedelta(minutes=5)
MOST_FAILURES = 3
_REASON_CHARS = 200
_REDIS_SECONDS = 0.25


@dataclass(frozen=True)
class Notice:
    """Something that waits for somebody; ``tone`` is "danger" or "warn"."""

    text: str
    url: str
    icon: str
    tone: str = "danger"
    detail: str = ""


@dataclass(frozen=True)
class Fact:
    """One line of what is at work; without a ``url`` there is no page about it."""

    name: str
    value: str
    url: str = ""
    detail: str = ""
    since: str = ""
    moment: datetime | None = None
    is_missing: bool = False


@dataclass(frozen=True)
class Component:
    """A part that everything else needs; ``state`` as ``/readyz`` says it."""

    name: str
    state: str
    word: str


@dataclass(frozen=True)
class Step:
    """Something to do in a new installation."""

    title: str
    detail: str
    url: str
    icon: str


@dataclass
class Day:
    """One day of the week; ``routes`` counts the assistant's replies."""

    date: date
    messages: int = 0
    routes: Counter[str] = field(default_factory=Counter)
    segments: list[Segment] = field(default_factory=list)

    @property
    def counts(self) -> list[int]:
        """The replies in the order of `ROUTES`."""
        return [self.routes[route] for route in ROUTES]


@dataclass(frozen=True)
class RouteTotal:
    """How many replies of the week went one way."""

    route: str
    name: str
    count: int
    share: str
    url: str


@dataclass(frozen=True)
class Week:
    """The last seven days, today included; ``conversations`` is None for those who may not see any."""

    days: list[Day]
    conversations: int | None
    messages: int
    replies: int
    routes: list[RouteTotal]
    messages_url: str
    conversations_url: str


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the page's content to the context of the admin's index."""
    assert isinstance(request.user, AbstractUser)  # admin_view lets nobody else in
    user, now = request.user, timezone.now()
    context |= {
        "title": gettext("Home"),
        "notices": notices(user, now),
        "facts": facts(user, now),
        "components": components(user),
        "week": week(user, now),
        "steps": steps(user),
    }
    return context


# --- Needs you --------------------------------------------------------------------------------------------------------


def notices(user: AbstractUser, now: datetime) -> list[Notice]:
    """Return what waits for a person, the customers first."""
    found: list[Notice] = []
    if user.has_perm("chat.view_conversation"):
        found += _waiting(user, now)
    if user.has_perm("learning.view_run"):
        found += _failed_runs(now)
    if user.has_perm("retrieval.view_indexbuild"):
        found += _failed_builds(now)
    if user.has_perm("monitoring.view_item"):
        found += _stream(now)
    return found


def _waiting(user: AbstractUser, now: datetime) -> list[Notice]:
    address = reverse("admin:chat_conversation_changelist")
    found = []
    waiting = Conversation.objects.filter(status=Conversation.Status.WAITING, last_sequence__gt=0).aggregate(
        count=Count("pk"), longest=Min("waiting_since")
    )
    if count := waiting["count"]:
        text = ngettext(
            "%(count)s conversation waits for a person", "%(count)s conversations wait for a person", count
        ) % {"count": count}
        longest = waiting["longest"]
        detail = ""
        if longest is not None:
            detail = gettext("The longest has waited for %(time)s.") % {"time": timesince(longest, now, depth=1)}
        # The list's third column is the wait: the longest comes first.
        found.append(Notice(text, f"{address}?status__exact=waiting&o=3", "support_agent", detail=detail))
    mine = Conversation.objects.filter(status=Conversation.Status.PERSON, assignee_id=user.pk).count()
    if mine:
        text = ngettext("You answer %(count)s conversation", "You answer %(count)s conversations", mine) % {
            "count": mine
        }
        query = urlencode({"status__exact": "person", "assignee__id__exact": user.pk})
        found.append(Notice(text, f"{address}?{query}", "forum", tone="warn"))
    return found


def _failed_runs(now: datetime) -> list[Notice]:
    """Runs that failed of late, unless a later one of the same task has succeeded."""
    better = Run.objects.filter(task=OuterRef("task"), pk__gt=OuterRef("pk"), status=Run.Status.READY)
    failed = (
        Run.objects.filter(~Exists(better), status=Run.Status.FAILED, finished_at__gte=now - FAILURES_FOR)
        .select_related("task")
        .only("error", "task__title")
        .order_by("-pk")[:MOST_FAILURES]
    )
    return [
        Notice(
            gettext("Training run #%(number)s of “%(task)s” failed") % {"number": run.pk, "task": run.task.title},
            reverse("admin:learning_run_change", args=[run.pk]),
            "model_training",
            detail=_first_line(run.error),
        )
        for run in failed
    ]


def _failed_builds(now: datetime) -> list[Notice]:
    """The newest index build that failed of late, unless a later one has succeeded."""
    better = IndexBuild.objects.filter(pk__gt=OuterRef("pk"), status=IndexBuild.Status.READY)
    build = (
        IndexBuild.objects.filter(~Exists(better), status=IndexBuild.Status.FAILED)
        .filter(finished_at__gte=now - FAILURES_FOR)
        .order_by("-pk")
        .first()
    )
    if build is None:
        return []
    text = gettext("Index build #%(number)s failed") % {"number": build.pk}
    address = reverse("admin:retrieval_indexbuild_change", args=[build.pk])
    return [Notice(text, address, "deployed_code_alert", detail=_first_line(build.error))]


def _stream(now: datetime) -> list[Notice]:
    """What the news stream tells of itself; nothing when Redis is away, which stands among the components."""
    client = redis.Redis.from_url(
        settings.REDIS_URL, protocol=2, socket_timeout=_REDIS_SECONDS, retry=Retry(NoBackoff(), 0)
    )
    try:
        with client:
            pipeline = client.pipeline(transaction=False)
            pipeline.xinfo_stream(ITEMS_STREAM)
            pipeline.xlen(ITEMS_STREAM + DEAD_LETTERS_SUFFIX)
            pipeline.xrevrange(ITEMS_STREAM + DEAD_LETTERS_SUFFIX, count=1)
            stream, dead_count, dead = pipeline.execute(raise_on_error=False)
    except redis.RedisError:
        return []
    address = reverse("monitoring:dashboard")
    found = []
    if isinstance(stream, dict):  # an error stands here while nothing has ever come
        oldest, newest = stream["first-entry"], _moment(stream["last-generated-id"])
        if oldest and (since := _moment(oldest[0])) is not None and now - since > STUCK_AFTER:
            text = ngettext(
                "%(count)s news item is not stored yet", "%(count)s news items are not stored yet", stream["length"]
            ) % {"count": stream["length"]}
            detail = gettext("The oldest has waited for %(time)s. Does the stream worker run?") % {
                "time": timesince(since, now, depth=1)
            }
            found.append(Notice(text, address, "hourglass_top", detail=detail))
        elif newest is not None and now - newest > SILENT_AFTER:
            text = gettext("No news for %(time)s") % {"time": timesince(newest, now, depth=1)}
            detail = gettext("Nothing has come through the stream since then.")
            found.append(Notice(text, address, "notifications_paused", tone="warn", detail=detail))
    if isinstance(dead, list) and dead:
        last = _moment(dead[0][0])
        if last is not None and now - last <= FAILURES_FOR:
            text = ngettext("%(count)s news item was refused", "%(count)s news items were refused", dead_count) % {
                "count": dead_count
            }
            detail = _first_line(dead[0][1].get(b"reason", b"").decode(errors="replace"))
            found.append(Notice(text, address, "report", tone="warn", detail=detail))
    return found


def _moment(entry_id: bytes) -> datetime | None:
    """Return when Redis gave out a stream's entry id, which begins with milliseconds; None for 0-0: nothing yet."""
    milliseconds = int(entry_id.split(b"-")[0])
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _first_line(text: str) -> str:
    return Truncator(next(iter(text.strip().splitlines()), "")).chars(_REASON_CHARS)


# --- At work ----------------------------------------------------------------------------------------------------------


def facts(user: AbstractUser, now: datetime) -> list[Fact]:
    """Return what answers customers, and what there is for those who label or watch the news."""
    found: list[Fact] = []
    if user.has_perm("learning.view_deployment"):
        found.append(_classifier_fact(now))
    if user.has_perm("retrieval.view_indexbuild"):
        found += _index_facts(now)
    if user.has_perm("learning.view_sample"):
        address = reverse("admin:learning_sample_changelist")
        found.append(Fact(gettext("Labelled texts"), f"{Sample.objects.count():,}", address))
    if user.has_perm("monitoring.view_item"):
        count = Item.objects.filter(published_at__gt=now - timedelta(days=1), published_at__lte=now).count()
        text = ngettext("%(count)s item in 24 hours", "%(count)s items in 24 hours", count) % {"count": f"{count:,}"}
        found.append(Fact(gettext("News"), text, reverse("monitoring:dashboard")))
    return found


def _classifier_fact(now: datetime) -> Fact:
    name = gettext("Intent classifier")
    deployment = deployments.current(classifier.TASK)
    if deployment is None:
        detail = gettext("Train a run and deploy it; until then every question is searched for in the articles.")
        return Fact(name, gettext("None at work"), reverse("admin:learning_task_changelist"), detail, is_missing=True)
    run = deployment.run
    accuracy, rows = reports.summary(run.metrics), run.metrics.get("holdout_rows")
    detail = ""
    if accuracy and isinstance(rows, int):
        detail = gettext("%(accuracy)s right on %(rows)s held-out texts") % {"accuracy": accuracy, "rows": f"{rows:,}"}
    elif accuracy:
        detail = gettext("%(accuracy)s right on held-out texts") % {"accuracy": accuracy}
    address = reverse("admin:learning_deployment_change", args=[deployment.pk])
    since = gettext("Deployed %(time)s ago") % {"time": timesince(deployment.deployed_at, now, depth=1)}
    value = gettext("Run #%(number)s") % {"number": run.pk}
    return Fact(name, value, address, detail, since, deployment.deployed_at)


def _index_facts(now: datetime) -> list[Fact]:
    name = gettext("Search index")
    build = IndexBuild.objects.filter(is_live=True).first()
    if build is None:
        detail = gettext("An index is built when an article is saved.")
        address = reverse("admin:retrieval_indexbuild_changelist")
        return [Fact(name, gettext("None at work"), address, detail, is_missing=True)]
    passages = ngettext("%(count)s passage", "%(count)s passages", build.passages) % {"count": f"{build.passages:,}"}
    address = reverse("admin:retrieval_indexbuild_change", args=[build.pk])
    built = build.finished_at or build.created_at
    since = gettext("Built %(time)s ago") % {"time": timesince(built, now, depth=1)}
    return [
        Fact(name, passages, address, since=since, moment=built),
        Fact(gettext("Encoder"), build.encoder_version or "–"),
    ]


def components(user: AbstractUser) -> list[Component]:
    """Return what everything needs with its state, for those who can do something about it."""
    if not (user.has_perm("learning.view_deployment") or user.has_perm("retrieval.view_indexbuild")):
        return []
    names = {
        "database": gettext("Database"),
        "redis": "Redis",
        "model": gettext("Intent classifier"),
        "index": gettext("Search index"),
    }
    words = {
        health.OK: gettext("ready"),
        health.OUTDATED: gettext("the newest cannot be loaded, the one before serves"),
        health.MISSING: gettext("not there"),
        health.FAILED: gettext("failed"),
    }
    return [Component(names.get(name, name), state, words[state]) for name, state in health.components().items()]


# --- Last 7 days ------------------------------------------------------------------------------------------------------


def week(user: AbstractUser, now: datetime) -> Week | None:
    """Return the last seven days in the installation's time zone, or None for those who may not read messages."""
    if not user.has_perm("chat.view_message"):
        return None
    today = timezone.localdate(now)
    days = {day: Day(day) for day in (today - timedelta(days=back) for back in reversed(range(DAYS)))}
    since = timezone.make_aware(datetime.combine(next(iter(days)), time.min))
    counted = (
        Message.objects.filter(created_at__gte=since)
        .exclude(author=Message.Author.SYSTEM)
        .order_by()
        .annotate(day=TruncDate("created_at"), route=KT("lineage__route"))
        .values_list("day", "author", "route")
        .annotate(count=Count("pk"))
    )
    for day, author, route, count in counted:
        if day in days:
            days[day].messages += count
            if author == Message.Author.ASSISTANT and route in ROUTES:
                days[day].routes[route] += count
    shown = list(days.values())
    for one, segments in zip(shown, stack([one.routes for one in shown], order=ROUTES), strict=True):
        one.segments = segments
    can_open = user.has_perm("chat.view_conversation")
    totals: Counter[str] = sum((one.routes for one in shown), Counter())
    address = reverse("admin:chat_message_changelist")
    begin = {"created_at__gte": since.isoformat(sep=" ")}
    return Week(
        days=shown,
        conversations=_begun(since) if can_open else None,
        messages=sum(one.messages for one in shown),
        replies=totals.total(),
        routes=[
            RouteTotal(
                route=route,
                name=route_name(route),
                count=totals[route],
                share=f"{totals[route] / max(totals.total(), 1):.0%}".replace("%", " %"),
                url=f"{address}?{urlencode({'route': route} | begin)}",
            )
            for route in ROUTES
        ],
        messages_url=f"{address}?{urlencode(begin)}",
        conversations_url=reverse("admin:chat_conversation_changelist") if can_open else "",
    )


def _begun(since: datetime) -> int:
    """Count conversations begun since then; the index is on ``updated_at``, which is never before ``created_at``."""
    return Conversation.objects.filter(updated_at__gte=since, created_at__gte=since, last_sequence__gt=0).count()


# --- First steps ------------------------------------------------------------------------------------------------------


def steps(user: AbstractUser) -> list[Step]:
    """Return what a new installation has not seen yet and this person may do; each goes when it is done."""
    offered: tuple[tuple[str, Callable[[], bool], Callable[[], Step]], ...] = (
        ("chat.view_conversation", _chat_was_tried, _try_the_chat),
        ("retrieval.add_article", _has_own_article, _write_an_article),
        ("chat.add_site", _has_own_site, _add_a_site),
        ("auth.change_user", _has_members, _fill_groups),
    )
    return [step() for permission, is_done, step in offered if user.has_perm(permission) and not is_done()]


def _chat_was_tried() -> bool:
    # Without its site the demo page has no chat to try.
    return Message.objects.exists() or sites.demo_site() is None


def _try_the_chat() -> Step:
    return Step(
        gettext("Try the chat on the demo page"),
        gettext("Ask the bank of the example something, in English or Chinese, and find the conversation here."),
        reverse("chat:demo"),
        "chat",
    )


def _has_own_article() -> bool:
    return Article.objects.filter(~Q(slug__in=_starter_slugs()) | Q(revision__gt=1)).exists()


@functools.cache
def _starter_slugs() -> frozenset[str]:
    return frozenset(path.stem for path in STARTER_ARTICLES.glob("*/*.md"))


def _write_an_article() -> Step:
    return Step(
        gettext("Write your first article"),
        gettext("Answers come from articles, with citations. The starter ones belong to the example."),
        reverse("admin:retrieval_article_add"),
        "edit_note",
    )


def _has_own_site() -> bool:
    return Site.objects.exclude(name=sites.DEMO_SITE_NAME).exists()


def _add_a_site() -> Step:
    return Step(
        gettext("Add a site"),
        gettext("Say which pages may open the chat, and copy the line that puts it on them."),
        reverse("admin:chat_site_add"),
        "language",
    )


def _has_members() -> bool:
    return User.groups.through._default_manager.exists()


def _fill_groups() -> Step:
    return Step(
        gettext("Put people into groups"),
        gettext("Agents answer customers, editors write, labellers label, analysts watch the market."),
        reverse("admin:auth_user_changelist"),
        "group_add",
    )
