"""Who may see the dashboard, and what it shows them."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring.models import Item

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
URL = "/monitoring/"
INJECTION = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def analyst() -> User:
    user = User.objects.create_user("ana", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_item", content_type__app_label="monitoring"))
    return user


@pytest.fixture
def page(client: Client, analyst: User) -> Client:
    client.force_login(analyst)
    return client


def make(number: int, **changes: Any) -> Item:
    fields = {
        "source": "wire",
        "guid": f"g-{number}",
        "title": f"Headline {number}",
        "text": "Shares of Northgale rose.",
        "url": f"https://news.example/{number}",
        "language": "en",
        "published_at": timezone.now() - timedelta(minutes=number),
    }
    return Item.objects.create(**fields | changes)


def html(client: Client, query: str = "", *, status: int = 200) -> str:
    response = client.get(URL + query)
    assert response.status_code == status
    return response.content.decode()


def headlines(page: str) -> list[str]:
    return re.findall(r">(Headline \d+)</a>", page)


def test_the_name_of_the_address() -> None:
    assert reverse("monitoring:dashboard") == URL


def test_who_is_not_signed_in_is_sent_to_sign_in(client: Client) -> None:
    response = client.get(URL)
    assert response.status_code == 302
    assert response["Location"] == f"{reverse('admin:login')}?next={URL}"


def test_who_lacks_the_permission_is_refused(client: Client) -> None:
    make(1)
    client.force_login(User.objects.create_user("bob", is_staff=True))
    response = client.get(URL)
    assert response.status_code == 403
    assert b"Headline" not in response.content


def test_only_reading_is_allowed(page: Client) -> None:
    assert page.post(URL).status_code == 405


def test_an_empty_table_says_what_will_happen(page: Client) -> None:
    text = html(page)
    assert "No items yet. They appear here as soon as the stream brings some." in text
    assert "No items in the last 24 hours" in text


def test_items_stand_newest_first_with_source_language_and_time(page: Client) -> None:
    make(2, language="zh-hans", source="澜声快讯")
    newest = make(1)
    text = html(page)
    assert headlines(text) == ["Headline 1", "Headline 2"]
    assert f'<time datetime="{newest.published_at.isoformat()}"' in text
    assert "澜声快讯" in text
    assert "中文" in text


def test_titles_texts_and_sources_are_shown_as_text(page: Client) -> None:
    make(1, title=INJECTION, text=INJECTION + "</script>", source=INJECTION[:90], url='https://a.example/?q="><script>')
    text = html(page) + html(page, "?q=" + INJECTION)
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert '"><script>' not in text


def test_older_items_follow_page_by_page_and_are_not_live(page: Client) -> None:
    for number in range(60):
        make(number)
    first = html(page)
    assert headlines(first) == [f"Headline {number}" for number in range(50)]
    assert '"live": true' in first
    found = re.search(r'rel="next" href="(\?before=[^"]+)"', first)
    assert found is not None
    second = html(page, found[1])
    assert headlines(second) == [f"Headline {number}" for number in range(50, 60)]
    assert 'rel="next"' not in second
    assert '"live": false' in second


def test_filters_are_kept_in_the_form_the_next_page_and_the_socket(page: Client) -> None:
    for number in range(55):
        make(number, source="a & b" if number != 3 else "other")
    text = html(page, "?source=a+%26+b&language=en&q=headline")
    assert "Headline 3<" not in text
    assert "<option selected>a &amp; b</option>" in text
    assert re.search(r'href="\?q=headline&amp;source=a\+%26\+b&amp;language=en&amp;before=\d+-\d+"', text)
    state = re.search(r'<script id="state" type="application/json">(.*?)</script>', text)
    assert state is not None
    assert json.loads(state[1])["socket"] == "/ws/monitoring/?q=headline&source=a+%26+b&language=en"


def test_nothing_found_is_said(page: Client) -> None:
    make(1)
    assert "Nothing matches these filters." in html(page, "?q=unheard-of")


@pytest.mark.parametrize(
    "query", ["?language=fr", "?before=yesterday", "?q=%00", "?q=" + "x" * 201, "?source=" + "x" * 101]
)
def test_an_address_that_asks_for_nonsense_is_refused_with_a_reason(page: Client, query: str) -> None:
    make(1)
    text = html(page, query, status=400)
    assert 'role="alert"' in text
    assert "Headline" not in text


def test_the_page_costs_as_many_queries_with_one_item_as_with_fifty(
    page: Client, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(7):  # session, user, permissions (2), sources, items, hours
        html(page)
    for number in range(60):
        make(number)
    with django_assert_max_num_queries(7):
        html(page)


def test_the_page_speaks_chinese(page: Client) -> None:
    text = html(page)
    assert '<html lang="en">' in text
    page.cookies["django_language"] = "zh-hans"
    assert '<html lang="zh-Hans">' in html(page)


def test_there_is_no_inline_script(page: Client, static_files: Path) -> None:
    scripts = re.findall(r"<script(?![^>]*application/json)[^>]*>(.*?)</script>", html(page), flags=re.DOTALL)
    assert scripts == [""]
