"""The public page of an article, and the passage behind a citation for the chat widget."""

from __future__ import annotations

from typing import TypedDict

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_safe

from retrieval.chunking import SECTION_SEPARATOR
from retrieval.markdown import parse_blocks, render_html
from retrieval.models import Article

_MOST_DIGITS = 9


class CitedArticle(TypedDict):
    """What the widget shows of a citation; ``html`` is sanitised, and ``text`` is the cited source itself."""

    title: str
    section: str
    language: str
    html: str
    text: str
    url: str


class _BadSpanError(ValueError):
    """``start`` and ``end`` are no span of the article."""


@require_safe
def article(request: HttpRequest, article_id: int) -> HttpResponse:
    """Show a published article, with the characters ``start`` to ``end`` of its source marked."""
    found = _public_article(article_id)
    try:
        span = _span(request, found)
    except _BadSpanError as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
    html = render_html(found.body, mark=span)
    response = render(
        request,
        "retrieval/article.html",
        # Sanitised by render_html.
        {"article": found, "html": mark_safe(html), "marked": span is not None},  # noqa: S308
    )
    response["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return response


@require_safe
def article_json(request: HttpRequest, article_id: int) -> JsonResponse:
    """Return the section that holds a citation, as sanitised HTML with the cited words marked.

    Any site may read it, for the widget runs in other people's pages and the article is public.
    """
    found = _public_article(article_id)
    try:
        span = _span(request, found)
    except _BadSpanError as error:
        response = JsonResponse({"error": "bad_span", "detail": str(error)}, status=400)
    else:
        response = JsonResponse(cited_article(found, span))
    response["Access-Control-Allow-Origin"] = "*"
    return response


def cited_article(found: Article, span: tuple[int, int] | None) -> CitedArticle:
    """Return the part of an article around a span: its whole section, or the whole article without a span."""
    start, end, section = _section_of(found.body, span)
    part = found.body[start:end]
    mark = (span[0] - start, span[1] - start) if span is not None else None
    return {
        "title": found.title,
        "section": section,
        "language": found.language,
        "html": render_html(part, mark=mark),
        "text": found.body[span[0] : span[1]] if span is not None else "",
        "url": found.get_absolute_url(),
    }


def _section_of(body: str, span: tuple[int, int] | None) -> tuple[int, int, str]:
    """Return where the section around a span starts and ends in the body, and its path of headings."""
    if span is None:
        return 0, len(body), ""
    start, end, path = 0, len(body), ""
    for block in parse_blocks(body):
        if block.kind != "heading":
            continue
        line_start = body.rfind("\n", 0, block.start) + 1
        if block.start <= span[0]:
            start, path = line_start, SECTION_SEPARATOR.join(block.section)
        elif line_start >= span[1]:
            end = line_start
            break
    return start, end, path


def _public_article(article_id: int) -> Article:
    if article_id > 2**63 - 1:
        raise Http404
    return get_object_or_404(Article, pk=article_id, published=True, audience=Article.Audience.PUBLIC)


def _span(request: HttpRequest, found: Article) -> tuple[int, int] | None:
    """Read ``start`` and ``end``: both or neither, and inside the article."""
    start, end = request.GET.get("start"), request.GET.get("end")
    if start is None and end is None:
        return None
    span = (_number(start), _number(end))
    if not span[0] < span[1] <= len(found.body):
        raise _BadSpanError(f"start and end must satisfy 0 <= start < end <= {len(found.body)}")
    return span


def _number(value: str | None) -> int:
    if value is None or not value.isascii() or not value.isdigit() or len(value) > _MOST_DIGITS:
        raise _BadSpanError("start and end must both be whole numbers, at least 0")
    return int(value)
