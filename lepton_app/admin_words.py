"""Words of the admin's look that it brings in English alone.

django-unfold has no catalogues, and Django's own know only some of its words. What stands here is found by
``makemessages``, gets a translation in the project's catalogue, and so reaches Unfold's templates; nothing imports it
for its values.
"""

from __future__ import annotations

from django.utils.translation import gettext_noop, ngettext_lazy

WORDS = (
    # Around every page
    gettext_noop("Welcome back to"),
    gettext_noop("Welcome"),
    gettext_noop("Return to site"),
    gettext_noop("Light"),
    gettext_noop("Dark"),
    gettext_noop("Go back"),
    gettext_noop("General"),
    gettext_noop("All applications"),
    gettext_noop("More actions"),
    gettext_noop("You have been successfully logged out from the administration"),
    # Search
    gettext_noop("Search apps and models..."),
    gettext_noop("Type to search"),
    gettext_noop("Recent searches"),
    gettext_noop("No recent searches"),
    gettext_noop("No results matching your query"),
    gettext_noop("Loading more results..."),
    # Lists
    gettext_noop("Filters"),
    gettext_noop("Apply Filters"),
    gettext_noop("Reset filters"),
    gettext_noop("No results found"),
    gettext_noop("This page yielded into no results. Create a new item or reset your filters."),
    gettext_noop("No data"),
    gettext_noop("Run"),
    gettext_noop("Select action"),
    gettext_noop("Select action to run"),
    gettext_noop("Select all rows"),
    gettext_noop("Select record"),
    gettext_noop("Expand row"),
    gettext_noop("True"),
    gettext_noop("False"),
    gettext_noop("Previous"),
    gettext_noop("Next"),
    # Forms
    gettext_noop("Select value"),
    gettext_noop("Add new item"),
    gettext_noop("Add row"),
    gettext_noop("This item will be deleted."),
    gettext_noop("Click to cancel"),
    gettext_noop("Submit"),
    gettext_noop("Date"),
    gettext_noop("Date from"),
    gettext_noop("Date to"),
    gettext_noop("From"),
    gettext_noop("To"),
    gettext_noop("Value"),
    gettext_noop("Toggle password visibility"),
    gettext_noop("After you've created a user, you’ll be able to edit more user options."),
    gettext_noop(
        "Raw passwords are not stored, so there is no way to see this user’s password, but you can change the password "
        'using <a href="{}" class="text-primary-600 dark:text-primary-500">this form</a>.'
    ),
    ngettext_lazy("entry", "entries"),
)
