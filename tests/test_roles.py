"""The groups of staff: the table, how it reaches the database, and what each role can open."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from lepton_app import roles
from lepton_app.learning.models import Label, Task

pytestmark = pytest.mark.django_db

LISTS = {
    "chat.conversation": "admin:chat_conversation_changelist",
    "chat.message": "admin:chat_message_changelist",
    "chat.site": "admin:chat_site_changelist",
    "intents.intent": "admin:intents_intent_changelist",
    "learning.annotation": "admin:learning_annotation_changelist",
    "learning.deployment": "admin:learning_deployment_changelist",
    "learning.label": "admin:learning_label_changelist",
    "learning.run": "admin:learning_run_changelist",
    "learning.sample": "admin:learning_sample_changelist",
    "learning.snapshot": "admin:learning_snapshot_changelist",
    "learning.task": "admin:learning_task_changelist",
    "monitoring.dashboard": "monitoring:dashboard",
    "monitoring.item": "admin:monitoring_item_changelist",
    "retrieval.article": "admin:retrieval_article_changelist",
    "retrieval.indexbuild": "admin:retrieval_indexbuild_changelist",
    "retrieval.passage": "admin:retrieval_passage_changelist",
    "auth.user": "admin:auth_user_changelist",
    "auth.group": "admin:auth_group_changelist",
}
MAY_OPEN = {
    "Agents": {"chat.conversation", "chat.message", "intents.intent", "retrieval.article"},
    "Labellers": {"intents.intent", "learning.task", "learning.label", "learning.sample", "learning.annotation"},
    "Analysts": {"monitoring.dashboard", "monitoring.item"},
    "Editors": {
        "intents.intent",
        "learning.annotation",
        "learning.deployment",
        "learning.label",
        "learning.run",
        "learning.sample",
        "learning.snapshot",
        "learning.task",
        "retrieval.article",
        "retrieval.indexbuild",
        "retrieval.passage",
    },
    "Approvers": {"learning.task", "learning.label", "learning.snapshot", "learning.run", "learning.deployment"},
}


def held(name: str) -> set[str]:
    group = Group.objects.get(name=name)
    return {f"{one.content_type.app_label}.{one.codename}" for one in group.permissions.select_related("content_type")}


@pytest.fixture
def member(client: Client, static_files: Any) -> Any:
    """Sign in as a member of one group and of no other."""
    roles.sync()

    def member(group: str) -> Client:
        user = User.objects.create_user("member", is_staff=True)
        user.groups.add(Group.objects.get(name=group))
        client.force_login(user)
        return client

    return member


def test_the_groups_hold_exactly_what_the_table_says() -> None:
    roles.sync()
    assert {name: held(name) for name in roles.ROLES} == {
        "Agents": {
            "chat.view_conversation",
            "chat.answer_conversation",
            "chat.view_message",
            "intents.view_intent",
            "retrieval.view_article",
        },
        "Labellers": {
            "intents.view_intent",
            "learning.view_task",
            "learning.view_label",
            "learning.view_sample",
            "learning.add_sample",
            "learning.change_sample",
            "learning.view_annotation",
        },
        "Analysts": {"monitoring.view_item"},
        "Editors": {
            "intents.view_intent",
            "intents.add_intent",
            "intents.change_intent",
            "learning.view_task",
            "learning.view_label",
            "learning.add_label",
            "learning.change_label",
            "learning.view_sample",
            "learning.add_sample",
            "learning.change_sample",
            "learning.view_annotation",
            "learning.view_snapshot",
            "learning.view_run",
            "learning.add_run",
            "learning.deploy_run",
            "learning.view_deployment",
            "learning.view_shadow",
            "learning.view_disagreement",
            "retrieval.view_article",
            "retrieval.add_article",
            "retrieval.change_article",
            "retrieval.delete_article",
            "retrieval.view_passage",
            "retrieval.view_indexbuild",
        },
        "Approvers": {
            "learning.view_task",
            "learning.view_label",
            "learning.view_snapshot",
            "learning.view_run",
            "learning.deploy_run",
            "learning.override_gate",
            "learning.view_deployment",
            "learning.view_shadow",
            "learning.view_disagreement",
        },
    }


def test_syncing_again_changes_nothing_and_what_is_not_in_the_table_goes() -> None:
    first = roles.sync()
    assert first.added == sum(len(wanted) for wanted in roles.ROLES.values())
    assert roles.sync() == roles.Synced(added=0, removed=0)
    analysts = Group.objects.get(name=roles.ANALYSTS)
    analysts.permissions.add(Permission.objects.get(codename="delete_user"))
    analysts.permissions.remove(Permission.objects.get(codename="view_item"))
    others = Group.objects.create(name="Our own group")
    others.permissions.add(Permission.objects.get(codename="view_user"))
    assert roles.sync() == roles.Synced(added=1, removed=1)
    assert held(roles.ANALYSTS) == {"monitoring.view_item"}
    assert held("Our own group") == {"auth.view_user"}


def test_the_command_says_what_it_did() -> None:
    out = StringIO()
    call_command("sync_roles", stdout=out)
    total = sum(len(wanted) for wanted in roles.ROLES.values())
    assert (
        out.getvalue() == f"Agents, Labellers, Analysts, Editors, Approvers: {total} permissions given, 0 taken away.\n"
    )


def test_a_permission_that_nobody_knows_is_named_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "ROLES", {"Agents": frozenset({"chat.view_message", "chat.fly"})})
    with pytest.raises(CommandError, match=r"No model has the permission chat\.fly"):
        call_command("sync_roles")
    assert not Group.objects.exists()


@pytest.mark.parametrize("group", list(MAY_OPEN))
def test_each_role_opens_its_lists_and_no_others(member: Any, group: str) -> None:
    client = member(group)
    statuses = {name: client.get(reverse(address)).status_code for name, address in LISTS.items()}
    assert statuses == {name: 200 if name in MAY_OPEN[group] else 403 for name in LISTS}


@pytest.mark.parametrize("group", list(MAY_OPEN))
def test_no_role_makes_users_or_gives_itself_rights(member: Any, group: str) -> None:
    client = member(group)
    users, groups = User.objects.count(), Group.objects.count()
    new = {"username": "eve", "password1": "a-long-password-2", "password2": "a-long-password-2"}
    assert client.post(reverse("admin:auth_user_add"), new).status_code == 403
    assert client.post(reverse("admin:auth_group_add"), {"name": "Mine"}).status_code == 403
    change = reverse("admin:auth_user_change", args=[User.objects.get().pk])
    assert client.post(change, {"username": "member", "is_superuser": "on"}).status_code == 403
    assert (User.objects.count(), Group.objects.count()) == (users, groups)
    assert not User.objects.get().is_superuser


def test_a_labeller_makes_no_labels(member: Any) -> None:
    task = Task.objects.create(name="intent", title="Intent")
    label = Label.objects.create(task=task, name="fees")
    client = member("Labellers")
    assert client.post(reverse("admin:learning_label_add"), {"task": task.pk, "name": "mine"}).status_code == 403
    change = reverse("admin:learning_label_change", args=[label.pk])
    assert client.post(change, {"name": "mine", "is_active": "on"}).status_code == 403
    assert list(Label.objects.values_list("name", flat=True)) == ["fees"]


def test_who_is_no_staff_is_sent_to_sign_in(client: Client) -> None:
    roles.sync()
    user = User.objects.create_user("visitor")
    user.groups.add(Group.objects.get(name=roles.EDITORS))
    client.force_login(user)
    response = client.get(reverse("admin:learning_task_changelist"))
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("admin:login"))
