"""From Train to the chat: a person trains, watches, reads the report and deploys while a customer's chat stays open."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from intents import catalogue
from intents.models import Intent
from lepton_app.chat import sites
from lepton_app.chat.models import Message
from lepton_app.learning import deployments, runs
from lepton_app.learning.config import configured
from lepton_app.learning.evaluation import save_report
from lepton_app.learning.labelling import Labelled, annotate
from lepton_app.learning.models import Annotation, Deployment, Label, Run, Task
from lepton_app.learning.progress import RowReporter
from lepton_app.learning.tasks import execute_run
from tests.browser.conftest import BROWSER_MARKS, Chat, Server, elsewhere
from tests.learning import toys
from tests.learning.test_report_page import full_report, history

pytestmark = BROWSER_MARKS
OpenPage = Callable[..., Page]
COPIES = 20
# Every serving process answers with another model so soon after it was deployed.
SWAPPED_AFTER_SECONDS = 3
TRANSFER = ("where is my transfer", "a transfer is gone", "my transfer please", "transfer lost here", "no transfer")
FITS = "width => document.documentElement.scrollWidth <= width"


@pytest.fixture
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from toys.installation(tmp_path, settings, monkeypatch)


@pytest.fixture
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the runs that a worker was nudged for."""
    sent: list[int] = []
    monkeypatch.setattr(execute_run, "delay", sent.append)
    return sent


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[OpenPage]:
    """Open an address, as an administrator where it is asked for; a script error on any page fails the test."""
    contexts, errors = [], list[str]()
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    session = client.cookies[django_settings.SESSION_COOKIE_NAME].value

    def open_page(path: str, *, is_admin: bool = True, width: int = 1280, **options: Any) -> Page:
        options = {"viewport": {"width": width, "height": 800}, "locale": "en-US", **options}
        context = browser.new_context(**options)
        contexts.append(context)
        if is_admin:
            context.add_cookies([{"name": django_settings.SESSION_COOKIE_NAME, "value": session, "url": server.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def reply_with(name: str) -> None:
    """Let the assistant reply to a label with the label's name."""
    said = dict.fromkeys(("title_en", "title_zh", "question_en", "question_zh"), name)
    Intent.objects.create(
        label=Label.objects.get(name=name), reply_en=f"This is about {name}.", reply_zh=f"关于{name}。", **said
    )


def last_reply() -> Message:
    return Message.objects.filter(author=Message.Author.ASSISTANT).latest("sequence")


def trained(task: Task) -> Run:
    run = runs.request_run(task)
    runs.execute(run.pk)
    run.refresh_from_db()
    assert run.status == Run.Status.READY, run.error
    return run


def test_a_new_label_is_trained_watched_deployed_and_answers_in_a_chat_that_was_open_all_along(
    root: Path, open_page: OpenPage, nudged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sites.ensure_site()
    task = toys.labelled_task("intent", copies=COPIES)
    elsewhere(deployments.deploy, old := trained(task), reason="The first model of this test.")
    rows = [Labelled(f"{text} {number}", "transfer") for text in TRANSFER for number in range(COPIES)]
    annotate(task, rows, source=Annotation.Source.STAFF)
    for name in ("card", "fees", "transfer"):
        reply_with(name)
    catalogue.forget()

    # The customer's chat, answered by the old model, which knows of no transfers.
    customer = open_page(reverse("chat:demo"), is_admin=False)
    sockets: list[Any] = []
    customer.on("websocket", lambda socket: sockets.append(socket))
    chat = Chat(customer).open()
    chat.say("lost my card")
    expect(chat.bubbles("assistant")).to_have_count(1)
    assert last_reply().lineage["classifier_version"].startswith(f"run-{old.pk}/")
    assert len(sockets) == 1

    # Train, by keyboard: the head is chosen already.
    page = open_page(reverse("admin:learning_task_change", args=[task.pk]))
    page.locator(f"a[href*='{reverse('admin:learning_task_train', args=[task.pk])}']").first.click()
    expect(page.get_by_role("radio", checked=True)).to_have_value("head")
    expect(page.locator("[name=set_rank]")).to_be_hidden()
    page.get_by_role("radio", checked=True).press("Enter")
    stage = page.locator("[data-live=stage]")
    expect(stage).to_have_text("Waits for a worker")
    run = Run.objects.latest("pk")
    assert nudged == [run.pk]
    page.evaluate("() => { window.isStillHere = true }")

    # The worker stops at its first stage until the page has shown it.
    was_seen = threading.Event()
    say_stage = RowReporter.stage

    def stage_and_wait(self: RowReporter, name: str) -> None:
        say_stage(self, name)
        assert was_seen.wait(20)

    monkeypatch.setattr(RowReporter, "stage", stage_and_wait)
    worker = threading.Thread(target=elsewhere, args=(runs.execute, run.pk))
    worker.start()
    try:
        expect(stage).not_to_have_text("Waits for a worker")
        expect(page.locator("[data-live=status]")).to_have_text("Running")
        assert page.evaluate("() => window.isStillHere") is True
    finally:
        was_seen.set()
        worker.join(timeout=50)
    run.refresh_from_db()
    assert run.status == Run.Status.READY, run.error

    # The report takes the place of the bar by itself.
    expect(page.get_by_role("heading", name="Report")).to_be_visible()
    expect(page.locator("[data-refresh-seconds]")).to_have_count(0)
    expect(page.get_by_role("heading", name="Confusion matrix")).to_be_visible()
    expect(page.locator(".learn-report svg[aria-label^=Reliability]")).to_be_visible()

    page.locator(f"a[href*='{reverse('admin:learning_run_deploy', args=[run.pk])}']").first.click()
    expect(page.get_by_role("heading", name="What the gate says")).to_be_visible()
    if run.verdict != Run.Verdict.PASS:
        page.get_by_label("Reason").fill("The new label is wanted by everybody.")
    page.locator("form button[type=submit]", has_text="Deploy").click()
    expect(page.get_by_text(f"Run #{run.pk} is at work.").first).to_be_visible()
    assert Deployment.objects.get(ended_at=None).run == run

    # The same socket, the new model, the new label.
    customer.wait_for_timeout(SWAPPED_AFTER_SECONDS * 1000)
    chat.say("where is my transfer 7")
    expect(chat.bubbles("assistant")).to_have_count(2)
    reply = last_reply()
    assert reply.lineage["classifier_version"].startswith(f"run-{run.pk}/")
    assert reply.lineage["intent"] == "transfer", reply.lineage
    expect(chat.bubbles("assistant").last).to_contain_text("This is about transfer.")
    assert len(sockets) == 1
    assert not sockets[0].is_closed()


def test_the_bar_and_the_curves_grow_in_place_and_a_run_is_cancelled(root: Path, open_page: OpenPage) -> None:
    task = toys.labelled_task()
    run = Run.objects.create(task=task, method="lora", status=Run.Status.RUNNING, step="Tuning")
    page = open_page(reverse("admin:learning_run_change", args=[run.pk]))
    bar, charts = page.locator(".learn progress"), page.locator("[data-live-charts] polyline")
    expect(charts).to_have_count(0)
    assert bar.get_attribute("value") is None
    page.evaluate("() => { window.isStillHere = true }")
    for share, count in ((0.25, 3), (0.5, 6)):
        progress = {"done": int(100 * share), "total": 100, "loss": 2 * share, "seconds_left": 75}
        Run.objects.filter(pk=run.pk).update(progress=progress, history=history()[:count])
        expect(page.locator("[data-live=step]")).to_have_text(f"{int(100 * share)} / 100")
        expect(page.locator("[data-live=left]")).to_have_text("1 min 15 s")
        assert bar.evaluate("node => node.value") == share
        expect(charts.first).to_have_attribute("points", _with_points(count))
    assert page.evaluate("() => window.isStillHere") is True

    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("It ends at its next step.")).to_be_visible()
    run.refresh_from_db()
    assert run.is_cancel_requested
    Run.objects.filter(pk=run.pk).update(status=Run.Status.CANCELLED, error="Cancelled by ada.")
    expect(page.get_by_text("Cancelled by ada.")).to_be_visible()


def test_the_form_shows_what_the_chosen_method_reads(root: Path, open_page: OpenPage) -> None:
    task = toys.labelled_task(copies=3)
    encoder = toys.publish_encoder(root, seed=1)
    config = configured("lora", {}).model_dump()
    tuned = toys.ready_run(task, root, encoder, is_own=True, method="lora", config=config, snapshot=toys.frozen(task))
    Run.objects.filter(pk=tuned.pk).update(method="ia3")
    page = open_page(reverse("admin:learning_task_train", args=[task.pk]))
    page.locator("summary").click()
    page.get_by_role("radio", name="LoRA Adapts", exact=False).check()
    expect(page.locator("[name=set_rank]")).to_be_visible()
    expect(page.locator("[data-preset=epochs]")).to_have_text("5")
    expect(page.locator("[name=set_initial_rank]")).to_be_hidden()
    assert page.locator(f"option[value='{tuned.pk}']").is_disabled()
    page.get_by_role("radio", name="AdaLoRA", exact=False).check()
    expect(page.locator("[data-preset=epochs]")).to_have_text("6")
    expect(page.locator("[name=set_initial_rank]")).to_be_visible()
    page.locator("[name=set_epochs]").fill("0")
    page.locator("form#train-form button[type=submit]").click()
    expect(page.get_by_text("greater than or equal to 1")).to_be_visible()
    expect(page.get_by_role("radio", name="AdaLoRA", exact=False)).to_be_checked()
    expect(page.locator("[name=set_epochs]")).to_have_value("0")


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_no_page_of_learning_scrolls_sideways(root: Path, open_page: OpenPage, width: int, locale: str) -> None:
    task = toys.labelled_task(copies=3)
    report = save_report(full_report(20), root)
    check = {"name": "latency", "verdict": "person", "figures": {"candidate": 90.0, "deployed": 1.5}, "sentence": ""}
    gate = {"verdict": "person", "against": None, "checks": [check]}
    config = configured("lora", {"epochs": 9}).model_dump()
    ready = Run.objects.create(
        task=task,
        method="lora",
        status=Run.Status.READY,
        report_artifact=report.name,
        verdict="person",
        gate=gate,
        config=config,
        snapshot=toys.frozen(task),
    )
    working = Run.objects.create(
        task=task, status=Run.Status.RUNNING, step="w" * 120, history=history(), progress={"done": 1, "total": 3}
    )
    for address in (
        reverse("admin:learning_task_train", args=[task.pk]),
        reverse("admin:learning_run_change", args=[working.pk]),
        reverse("admin:learning_run_change", args=[ready.pk]),
        reverse("admin:learning_run_deploy", args=[ready.pk]),
    ):
        page = open_page(address, width=width, locale=locale)
        expect(page.locator(".learn").first).to_be_visible()
        for summary in page.locator(".learn summary").all():
            if summary.is_visible():
                summary.click()
        page.wait_for_function(FITS, arg=width)
        if address == reverse("admin:learning_run_change", args=[ready.pk]):
            page.locator("a[href='#cell-0-1']").last.click()
            expect(page.locator("#cell-0-1")).to_be_in_viewport()
        page.context.close()


def _with_points(count: int) -> re.Pattern[str]:
    return re.compile(rf"^\S+( \S+){{{count - 1}}}$")
