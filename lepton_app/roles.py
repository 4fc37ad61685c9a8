"""Who may do what: the groups of staff and exactly the permissions each needs.

The table `ROLES` is the whole truth: `sync` makes the database agree with it, and takes away what is not in it. People
are put into groups by an administrator; everybody in a group is staff (may enter the admin). Superusers may do all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Q

AGENTS = "Agents"
LABELLERS = "Labellers"
ANALYSTS = "Analysts"
EDITORS = "Editors"
APPROVERS = "Approvers"

ROLES: Mapping[str, frozenset[str]] = {
    # Talk with customers: read conversations, answer in them, look things up.
    AGENTS: frozenset(
        {
            "chat.view_conversation",
            "chat.answer_conversation",
            "chat.view_message",
            "intents.view_intent",
            "retrieval.view_article",
        }
    ),
    # Say what texts mean. An annotation is made by saving a sample, so that nobody may add, change or delete one.
    LABELLERS: frozenset(
        {
            "intents.view_intent",
            "learning.view_task",
            "learning.view_label",
            "learning.view_sample",
            "learning.add_sample",
            "learning.change_sample",
            "learning.view_annotation",
        }
    ),
    # Watch the market: the dashboard and the list of items.
    ANALYSTS: frozenset({"monitoring.view_item"}),
    # Own what the assistant says: intents and articles, and bring to life what they changed.
    EDITORS: frozenset(
        {
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
        }
    ),
    # Answer for a model that the gate does not pass: look at it, and put it to work with a written reason. Not a part
    # of Editors, so that whoever trains a model is not by that alone the one who overrules what was measured of it.
    APPROVERS: frozenset(
        {
            "learning.view_task",
            "learning.view_label",
            "learning.view_snapshot",
            "learning.view_run",
            "learning.deploy_run",
            "learning.override_gate",
            "learning.view_deployment",
            "learning.view_shadow",
            "learning.view_disagreement",
        }
    ),
}


class UnknownPermission(Exception):
    """The table names a permission that no model has."""

    code = "unknown_permission"


@dataclass(frozen=True)
class Synced:
    """How many permissions were given and taken away, over all groups."""

    added: int
    removed: int


@transaction.atomic
def sync() -> Synced:
    """Make the groups hold exactly what `ROLES` says; safe to run at any time, groups of other names are left alone.

    Raises `UnknownPermission` for a name that the database does not know (after a change of models: migrate first).
    """
    known = _permissions(frozenset().union(*ROLES.values()))
    added = removed = 0
    for name, wanted in ROLES.items():
        group, _ = Group.objects.get_or_create(name=name)
        held = {permission.pk for permission in group.permissions.all()}
        right = {known[permission] for permission in wanted}
        group.permissions.add(*(right - held))
        group.permissions.remove(*(held - right))
        added += len(right - held)
        removed += len(held - right)
    return Synced(added=added, removed=removed)


def _permissions(names: frozenset[str]) -> dict[str, int]:
    wanted = Q()
    for name in names:
        app_label, codename = name.split(".")
        wanted |= Q(content_type__app_label=app_label, codename=codename)
    found = Permission.objects.filter(wanted).values_list("content_type__app_label", "codename", "pk")
    known = {f"{app_label}.{codename}": pk for app_label, codename, pk in found}
    missing = sorted(names - known.keys())
    if missing:
        raise UnknownPermission(
            f"No model has the permission {', '.join(missing)}: migrate, or mend lepton_app/roles.py."
        )
    return known
