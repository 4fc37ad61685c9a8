"""Users and groups in the admin's own look."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(BaseUserAdmin, ModelAdmin):
    """People who may enter the admin, and the groups they are in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = (
        "username",
        "email",
        "full_name",
        "group_names",
        "is_active",
        "is_staff",
        "is_superuser",
        "last_login",
    )
    list_filter = ("groups", "is_active", "is_staff", "is_superuser")
    search_fields = ("username", "email", "first_name", "last_name")

    @display(description=pgettext_lazy("person", "name"), ordering="last_name")
    def full_name(self, user: User) -> str:
        """Return first and last name."""
        return user.get_full_name() or "–"

    @display(description=_("groups"), label=True)
    def group_names(self, user: User) -> list[str]:
        """Return the groups as badges."""
        return [group.name for group in user.groups.all()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Read the groups of all rows in one query."""
        return super().get_queryset(request).prefetch_related("groups")


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):
    """Roles of staff; ``manage.py sync_roles`` sets the permissions of those that the project brings."""

    list_display = ("name", "member_count", "permission_count")
    search_fields = ("name",)

    @display(description=_("members"), ordering="members")
    def member_count(self, group: Group) -> int:
        """Return how many users are in the group."""
        return getattr(group, "members", 0)

    @display(description=_("permissions"), ordering="held")
    def permission_count(self, group: Group) -> int:
        """Return how many permissions the group holds."""
        return getattr(group, "held", 0)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        """Count members and permissions with the rows."""
        counts = {"members": Count("user", distinct=True), "held": Count("permissions", distinct=True)}
        return super().get_queryset(request).annotate(**counts)
