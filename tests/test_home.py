"""The admin's first page: what each role sees, what it costs, and what it shows when there is nothing."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from intents import classifier
from lepton_app import health, home, roles
from lepton_app.chat.models import Conversation, Message, Site
from lepton_app.chat.sites import ensure_site
from lepton_app.learning.models import Deployment, Run, Sample, Task
from lepton_app.learning.serving import served
from monitoring.stream import DEAD_LETTERS_SUFFIX, ITEMS_STREAM
from retrieval import serving
from retrieval.models import Article, IndexBuild
from tests.test_translations import compiled  # noqa: F401 - a fixture

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files", "clean_redis", "_nothing_held")]
INJECTION = "<script>alert(1)</script><img src=x onerror=alert(2)>"
SignIn = Callable[[str], Client]


@pytest.fixture
def _nothing_held() -> None:
    """Let go of what another test has deployed in this process."""
    served(classifier.TASK).forget()
    serving.forget_index()


@pytest.fixture
def sign_in(client: Client) -> SignIn:
    """Sign in as a member of one group, or as a superuser for the name "Administrator"."""
    roles.sync()

    def sign_in(group: str) -> Client:
        user = User.objects.create_user("kim", is_staff=True, is_superuser=group == "Administrator")
        if not user.is_superuser:
            user.groups.add(Group.objects.get(name=group))
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def task() -> Task:
    return Task.objects.create(name=classifier.TASK, title="Intent")


def converse(count: int = 1, *, route: str = "answer", status: str = "assistant", **fields: Any) -> list[Conversation]:
    site = ensure_site()
    begun = []
    for _ in range(count):
        one = Conversation.objects.create(site=site, visitor_id=uuid.uuid4(), last_sequence=2, status=status, **fields)
        Message.objects.create(conversation=one, sequence=1, author=Message.Author.CUSTOMER, text="Fees?")
        Message.objects.create(
            conversation=one, sequence=2, author=Message.Author.ASSISTANT, text="None.", lineage={"route": route}
        )
        begun.append(one)
    return begun


def failed_run(task: Task, **changes: Any) -> Run:
    fields = {"status": Run.Status.FAILED, "error": "no memory\nTraceback", "finished_at": timezone.now()}
    return Run.objects.create(task=task, **fields | changes)


def failed_build(**changes: Any) -> IndexBuild:
    fields = {"status": IndexBuild.Status.FAILED, "error": "disk full", "finished_at": timezone.now()}
    return IndexBuild.objects.create(**fields | changes)


def something_of_everything(task: Task) -> None:
    converse(2, status="waiting", waiting_since=timezone.now() - timedelta(minutes=5))
    run = Run.objects.create(
        task=task, status=Run.Status.READY, metrics={"accuracy": 0.885, "holdout_rows": 645}, artifact="gone"
    )
    Deployment.objects.create(task=task, run=run)
    IndexBuild.objects.create(
        status=IndexBuild.Status.READY,
        is_live=True,
        artifact="gone",
        passages=774,
        encoder_version="mini-int8-abc",
        finished_at=timezone.now() - timedelta(hours=2),
    )
    failed_run(task)
    failed_build()


def shown(client: Client, **headers: str) -> str:
    response = client.get(reverse("admin:index"), headers=headers or None)
    assert response.status_code == 200
    return response.content.decode()


def cards(page: str) -> dict[str, str]:
    """The cards by their headings, as the words in them."""
    found = re.findall(r"<section[^>]*>\s*<h2[^>]*>(.*?)</h2>(.*?)</section>", page, re.DOTALL)
    return {title: " ".join(re.sub(r"<[^>]+>", " ", body).split()) for title, body in found}


def links(page: str) -> list[str]:
    content = page[page.index('id="content-main"') :]
    return [link.replace("&amp;", "&") for link in re.findall(r'<a[^>]*href="([^"#]*)"', content)]


# --- who sees what ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "titles", "words", "missing"),
    [
        ("Agents", ["Needs you", "Last 7 days"], ["2 conversations wait"], ["Training run", "Index build", "News"]),
        ("Labellers", ["Needs you", "At work"], ["Labelled texts", "Nothing needs you"], ["Run #", "conversation"]),
        ("Analysts", ["Needs you", "At work"], ["0 items in 24 hours"], ["Run #", "Labelled", "Database"]),
        (
            "Editors",
            ["Needs you", "First steps", "At work"],
            ["Training run #", "Index build #", "774 passages", "mini-int8-abc", "Database ready"],
            ["conversations wait", "News", "Add a site", "Put people"],
        ),
        (
            "Administrator",
            ["Needs you", "First steps", "Last 7 days", "At work"],
            ["2 conversations wait", "Training run #", "Labelled texts", "24 hours", "Put people into groups"],
            ["Try the chat"],
        ),
    ],
)
def test_each_role_sees_its_own_cards(
    sign_in: SignIn, task: Task, group: str, titles: list[str], words: list[str], missing: list[str]
) -> None:
    something_of_everything(task)
    page = shown(sign_in(group))
    found = cards(page)
    assert list(found) == titles
    text = " ".join(found.values())
    assert [word for word in words if word not in text] == []
    assert [word for word in missing if word in text] == []


@pytest.mark.parametrize("group", ["Agents", "Labellers", "Analysts", "Editors", "Administrator"])
def test_every_link_may_be_followed(sign_in: SignIn, task: Task, group: str) -> None:
    something_of_everything(task)
    client = sign_in(group)
    addresses = links(shown(client))
    assert addresses
    assert {address: client.get(address).status_code for address in addresses} == dict.fromkeys(addresses, 200)


def test_staff_without_any_permission_get_a_calm_page(client: Client, task: Task) -> None:
    something_of_everything(task)
    client.force_login(User.objects.create_user("new", is_staff=True))
    assert cards(shown(client)) == {"Needs you": "check Nothing needs you right now."}


# --- needs you --------------------------------------------------------------------------------------------------------


def test_the_longest_wait_is_said_and_comes_first(sign_in: SignIn) -> None:
    now = timezone.now()
    converse(status="waiting", waiting_since=now - timedelta(minutes=3))
    longest = converse(status="waiting", waiting_since=now - timedelta(hours=2, minutes=5))[0]
    converse(status="closed")
    client = sign_in("Agents")
    page = shown(client)
    assert "2 conversations wait for a person The longest has waited for 2 hours." in cards(page)["Needs you"].replace(
        "\xa0", " "
    )
    listed = client.get(next(link for link in links(page) if "waiting" in link)).content.decode()
    places = re.findall(rf"{reverse('admin:chat_conversation_changelist')}([0-9a-f-]{{36}})/", listed)
    assert len(set(places)) == 2
    assert places[0] == str(longest.pk)


def test_an_agents_own_conversations(sign_in: SignIn) -> None:
    client = sign_in("Agents")
    other = User.objects.create_user("other", is_staff=True)
    converse(status="person", assignee=User.objects.get(username="kim"))
    converse(status="person", assignee=other)
    assert "You answer 1 conversation " in cards(shown(client))["Needs you"]


def test_failures_of_the_last_day_until_something_later_succeeds(sign_in: SignIn, task: Task) -> None:
    client = sign_in("Editors")
    failed_run(task, finished_at=timezone.now() - timedelta(hours=25))
    failed_build(finished_at=timezone.now() - timedelta(hours=25))
    assert "failed" not in cards(shown(client))["Needs you"]
    run, build = failed_run(task), failed_build()
    text = cards(shown(client))["Needs you"]
    assert f"Training run #{run.pk} of “Intent” failed no memory" in text
    assert f"Index build #{build.pk} failed disk full" in text
    assert "Traceback" not in text
    other = Task.objects.create(name="topic", title="Topic")
    Run.objects.create(task=other, status=Run.Status.READY)
    assert f"Training run #{run.pk}" in cards(shown(client))["Needs you"]
    Run.objects.create(task=task, status=Run.Status.READY)
    IndexBuild.objects.create(status=IndexBuild.Status.READY)
    assert "failed" not in cards(shown(client))["Needs you"]


class TestStream:
    def entry(self, clean_redis: Any, stream: str, age: timedelta, **fields: str) -> bytes:
        milliseconds = int((timezone.now() - age).timestamp() * 1000)
        return bytes(clean_redis.xadd(stream, fields or {"text": "x"}, id=f"{milliseconds}-0"))

    def text(self, client: Client) -> str:
        return cards(shown(client))["Needs you"].replace("\xa0", " ")

    def test_a_stream_that_was_never_used_is_not_silent(self, sign_in: SignIn, clean_redis: Any) -> None:
        client = sign_in("Analysts")
        assert "Nothing needs you" in self.text(client)
        clean_redis.xgroup_create(ITEMS_STREAM, "stream-workers", id="0", mkstream=True)
        assert "Nothing needs you" in self.text(client)

    def test_silence_after_a_day(self, sign_in: SignIn, clean_redis: Any) -> None:
        client = sign_in("Analysts")
        clean_redis.xdel(ITEMS_STREAM, self.entry(clean_redis, ITEMS_STREAM, timedelta(days=2, hours=1)))
        assert "No news for 2 days" in self.text(client)
        clean_redis.xdel(ITEMS_STREAM, self.entry(clean_redis, ITEMS_STREAM, timedelta(hours=1)))
        assert "Nothing needs you" in self.text(client)

    def test_items_that_nobody_stores(self, sign_in: SignIn, clean_redis: Any) -> None:
        client = sign_in("Analysts")
        self.entry(clean_redis, ITEMS_STREAM, timedelta(minutes=20))
        self.entry(clean_redis, ITEMS_STREAM, timedelta(minutes=1))
        assert "2 news items are not stored yet The oldest has waited for 20 minutes." in self.text(client)

    def test_items_that_were_refused_of_late(self, sign_in: SignIn, clean_redis: Any) -> None:
        client = sign_in("Analysts")
        dead = ITEMS_STREAM + DEAD_LETTERS_SUFFIX
        self.entry(clean_redis, dead, timedelta(days=3), reason="old")
        assert "Nothing needs you" in self.text(client)
        self.entry(clean_redis, dead, timedelta(hours=1), reason=INJECTION)
        page = shown(client)
        assert "2 news items were refused" in page
        assert INJECTION not in page
        assert "&lt;script&gt;alert(1)" in page

    def test_redis_that_is_away_breaks_nothing(self, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
        client = sign_in("Administrator")
        monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
        found = cards(shown(client))
        assert "Nothing needs you" in found["Needs you"]
        assert "Redis failed" in found["At work"]


# --- at work and the week ---------------------------------------------------------------------------------------------


def test_what_is_at_work(sign_in: SignIn, task: Task) -> None:
    something_of_everything(task)
    Sample.objects.create(task=task, text="x", digest="0" * 64, language="en", is_out_of_scope=True)
    text = cards(shown(sign_in("Editors")))["At work"].replace("\xa0", " ")
    run = Deployment.objects.get().run
    assert f"Intent classifier Run #{run.pk} 88.5 % right on 645 held-out texts Deployed 0 minutes ago" in text
    assert "Search index 774 passages Built 2 hours ago" in text
    assert "Encoder mini-int8-abc" in text
    assert "Labelled texts 1 " in text
    # The rows are there, what they name is not: the page says so as /readyz does.
    states = health.components()
    assert (states["database"], states["model"], states["index"]) == ("ok", "failed", "missing")
    assert "Intent classifier failed" in text
    assert "Search index not there" in text


def test_replies_are_counted_by_day_and_route(sign_in: SignIn) -> None:
    converse(3, route="intent")
    converse(1, route="refusal")
    converse(1, route=INJECTION)
    today = timezone.now()
    for days_ago in (2, 30):
        old = converse(1, route="answer")[0]
        at = today - timedelta(days=days_ago)
        Message.objects.filter(conversation=old).update(created_at=at)
        Conversation.objects.filter(pk=old.pk).update(created_at=at)
    agent = sign_in("Agents")
    week = home.week(User.objects.get(), timezone.now())
    assert week is not None
    assert [one.counts for one in week.days] == [
        *([[0, 0, 0, 0, 0]] * 4),
        [0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [3, 0, 0, 1, 0],
    ]
    assert (week.conversations, week.messages, week.replies) == (6, 12, 5)
    assert [(total.count, total.share) for total in week.routes] == [
        (3, "60 %"),
        (1, "20 %"),
        (0, "0 %"),
        (1, "20 %"),
        (0, "0 %"),
    ]
    page = shown(agent)
    assert len(re.findall(r'<rect class="route-', page)) == 3
    assert INJECTION not in page
    refusals = next(link for link in links(page) if "route=refusal" in link)
    assert "None." in agent.get(refusals).content.decode()


def test_the_page_costs_as_much_with_many_rows_as_with_few(sign_in: SignIn, task: Task) -> None:
    client = sign_in("Administrator")
    something_of_everything(task)
    shown(client)  # content types and the like are read once

    def cost() -> int:
        served(classifier.TASK).forget()
        serving.forget_index()
        with CaptureQueriesContext(
            connection,
        ) as captured:
            shown(client)
        return len(captured)

    before = cost()
    assert before <= 24
    for route in home.ROUTES:
        converse(4, route=route, status="waiting", waiting_since=timezone.now())
    for _ in range(3):
        failed_run(task)
        failed_build()
    assert cost() == before


# --- a new installation -----------------------------------------------------------------------------------------------


def test_an_empty_database_has_real_empty_states(sign_in: SignIn) -> None:
    found = cards(shown(sign_in("Administrator")))
    assert list(found) == ["Needs you", "First steps", "Last 7 days", "At work"]
    assert "Nothing needs you right now." in found["Needs you"]
    assert "Nobody has written in these days." in found["Last 7 days"]
    assert found["At work"].count("None at work") == 2
    assert "Labelled texts 0" in found["At work"]


def test_first_steps_go_when_they_are_done(sign_in: SignIn) -> None:
    ensure_site()
    Article.objects.create(slug=min(home._starter_slugs()), language="en", title="Starter", body="Text.")
    client = sign_in("Administrator")

    def titles() -> list[str]:
        return [step.title for step in home.steps(User.objects.get(username="kim"))]

    chat, article, site, groups = titles()
    assert [chat, article, site, groups] == [
        "Try the chat on the demo page",
        "Write your first article",
        "Add a site",
        "Put people into groups",
    ]
    converse()
    assert titles() == [article, site, groups]
    Article.objects.create(slug="our-own", language="en", title="Ours", body="Text.")
    assert titles() == [site, groups]
    Site.objects.create(name="Ours")
    assert titles() == [groups]
    User.objects.create_user("ann", is_staff=True).groups.add(Group.objects.get(name=roles.AGENTS))
    assert titles() == []
    assert "First steps" not in cards(shown(client))


# --- words and safety -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("compiled")
def test_the_page_speaks_chinese(sign_in: SignIn, task: Task) -> None:
    something_of_everything(task)
    found = cards(shown(sign_in("Administrator"), **{"accept-language": "zh-CN"}))
    assert list(found) == ["待处理", "入门步骤", "最近 7 天", "当前使用"]
    assert "2 个会话正在等待人工客服" in found["待处理"]
    assert "文章回答 2 100 %" in found["最近 7 天"]
    english = re.findall(r"\b(?:waits?|replies|ready|Built|Deployed|texts|items)\b", " ".join(found.values()))
    assert english == []


def test_what_people_and_errors_say_is_shown_as_text(sign_in: SignIn) -> None:
    task = Task.objects.create(name=classifier.TASK, title=INJECTION)
    failed_run(task, error=INJECTION)
    live = {"status": IndexBuild.Status.READY, "is_live": True, "encoder_version": INJECTION}
    IndexBuild.objects.create(**live)
    failed_build(error=INJECTION)
    page = shown(sign_in("Editors"))
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4
    assert INJECTION not in page


# --- beside the page --------------------------------------------------------------------------------------------------


def marked(page: str) -> list[str]:
    """The addresses of the sidebar's entries that are marked as open."""
    entries = re.findall(r'<a href="([^"]+)"\s+class="([^"]*)"', page)
    return [address for address, classes in entries if re.search(r"(?<!\S)active(?!\S)", classes)]


@pytest.mark.parametrize("name", ["admin:monitoring_item_changelist", "admin:index"])
def test_the_sidebar_marks_the_dashboard_on_no_page_of_the_admin(sign_in: SignIn, name: str) -> None:
    page = sign_in("Administrator").get(reverse(name)).content.decode()
    assert reverse("monitoring:dashboard") in page
    wanted = [reverse(name)] if name != "admin:index" else []
    assert [address for address in marked(page) if address != reverse("admin:index")] == wanted


@pytest.mark.parametrize(
    ("status", "follows"),
    [("queued", True), ("running", True), ("ready", False), ("failed", False)],
)
def test_a_runs_page_follows_the_run_while_it_goes_on(sign_in: SignIn, task: Task, status: str, follows: bool) -> None:
    run = Run.objects.create(task=task, status=status)
    page = sign_in("Editors").get(reverse("admin:learning_run_change", args=[run.pk])).content.decode()
    assert ("data-refresh-seconds" in page, "lepton/refresh" in page) == (follows, follows)
