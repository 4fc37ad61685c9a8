"""Markdown of an article: to safe HTML, and to blocks that know where in the source they stand.

The source is somebody's text and is never trusted: raw HTML in it is shown as text, the rendered HTML is sanitised
once more, and links lead to http, https, mailto or relative addresses only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from lepton_app.lib.languages import has_cjk

Kind = Literal["heading", "paragraph", "item", "row", "code"]

_TAGS = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "mark"),
    *("ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "a"),
}
_SCHEMES = {"http", "https", "mailto"}
_BARE_PIPE = re.compile(r"(?<!\\)\|")
_LINE_END = re.compile(r"\r\n?|\n")
_LINK_TAIL = re.compile(r"\]\((?:[^()\\\n]|\\.|\([^()]*\))*\)|\]\[[^\]]*\]|\]|>")


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, paragraph, list item, table row or code block of an article.

    ``body[start:end]`` is its source without list marks and surrounding white space. ``offsets[i]`` is where the
    character ``text[i]`` stands in the body; it is empty for rows and code, which are cited whole. ``section`` is
    the path of headings above (for a heading: with itself). ``list_number`` counts the lists of the article, and
    ``lead_in`` is the index of the paragraph that introduces the list or table.
    """

    kind: Kind
    text: str
    start: int
    end: int
    section: tuple[str, ...]
    offsets: tuple[int, ...] = ()
    list_number: int | None = None
    ordered: bool = False
    lead_in: int | None = None


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")


_MARKDOWN = _parser()


# ---------------------------------------------------------------------------------------------------------- to HTML


def render_html(body: str, *, mark: tuple[int, int] | None = None) -> str:
    r"""Render Markdown as sanitised HTML; the characters of the span ``mark`` of ``body`` are wrapped in ``<mark>``.

    >>> render_html("Pay **now**. <script>x</script>")
    '<p>Pay <strong>now</strong>. &lt;script&gt;x&lt;/script&gt;</p>\n'
    >>> render_html("Pay **now**. Later.", mark=(6, 9))
    '<p>Pay <strong><mark>now</mark></strong>. Later.</p>\n'
    """
    tokens = _MARKDOWN.parse(body)
    if mark is not None and mark[0] < mark[1]:
        _mark(tokens, body, mark)
    return sanitise_html(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def sanitise_html(html: str) -> str:
    """Keep the plain tags of articles; drop scripts, styles, handlers, and links of any other scheme."""
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )


def _mark(tokens: list[Token], body: str, span: tuple[int, int]) -> None:
    lines = _line_starts(body)
    for token, start, end in _located(tokens, body, lines):
        if end <= span[0] or start >= span[1]:
            continue
        if token.type in ("fence", "code_block"):
            token.type, token.content = "html_block", f"<pre><code><mark>{escape(token.content)}</mark></code></pre>\n"
            continue
        children: list[Token] = []
        for child, offsets in _aligned(token, body, start, end):
            children.extend(_cut(child, offsets, span))
        token.children = children


def _cut(child: Token, offsets: Sequence[int], span: tuple[int, int]) -> Iterator[Token]:
    """Split a text token where the marked span begins and ends; offsets are never decreasing."""
    inside = [span[0] <= offset < span[1] for offset in offsets]
    if not child.content or True not in inside:  # a line break has a place in the source and no content
        yield child
        return
    first, last = inside.index(True), len(inside) - inside[::-1].index(True)
    parts = (child.content[:first], child.content[first:last], child.content[last:])
    for content, marked in zip(parts, (False, True, False), strict=True):
        if not content:
            continue
        if marked:
            yield Token("mark_open", "mark", 1)
        yield Token(child.type, child.tag, child.nesting, content=content, markup=child.markup)
        if marked:
            yield Token("mark_close", "mark", -1)


# ----------------------------------------------------------------------------------------------------- to structure


def parse_blocks(body: str) -> list[Block]:
    r"""Return the blocks of an article in order; ``body[block.start:block.end]`` is each one's source.

    >>> [(b.kind, b.text, b.section) for b in parse_blocks("# Fees\nFree:\n- **ATM** cash")]
    [('heading', 'Fees', ('Fees',)), ('paragraph', 'Free:', ('Fees',)), ('item', 'ATM cash', ('Fees',))]
    """
    return _Walk(body).blocks()


def plain_text(body: str) -> str:
    """Return the article's words without Markdown, one block a line."""
    return "\n".join(block.text for block in parse_blocks(body))


class _Walk:
    """One pass over the block tokens of an article."""

    def __init__(self, body: str) -> None:
        self._body = body
        self._tokens = _MARKDOWN.parse(body)
        self._blocks: list[Block] = []
        self._section: list[tuple[int, str]] = []
        self._lists: list[tuple[int, bool, int | None]] = []  # number, ordered, index of the lead-in
        self._list_count = 0
        self._header: list[str] = []

    def blocks(self) -> list[Block]:
        located = {
            id(token): (start, end)
            for token, start, end in _located(self._tokens, self._body, _line_starts(self._body))
        }
        heading_level = 0
        row: list[tuple[str, int, int]] = []
        in_head = False
        lead_in: int | None = None
        for token in self._tokens:
            if token.type == "heading_open":
                heading_level = int(token.tag[1])
            elif token.type == "heading_close":
                heading_level = 0
            elif token.type in ("bullet_list_open", "ordered_list_open"):
                outer = self._lists[-1][2] if self._lists else None
                index = self._introduction()
                self._list_count += 1
                self._lists.append((self._list_count, token.type[0] == "o", index if index is not None else outer))
            elif token.type in ("bullet_list_close", "ordered_list_close"):
                self._lists.pop()
            elif token.type == "table_open":
                lead_in, self._header = self._introduction(), []
                self._list_count += 1
            elif token.type in ("thead_open", "thead_close"):
                in_head = token.type == "thead_open"
            elif token.type == "tr_open":
                row = []
            elif token.type == "tr_close":
                if in_head:
                    self._header = [text for text, _, _ in row]
                else:
                    self._add_row(row, lead_in)
                row = []
            elif token.type in ("th_open", "td_open"):
                row.append(("", -1, -1))
            elif token.type == "inline" and id(token) in located:
                start, end = located[id(token)]
                text, offsets = _text_of(token, self._body, start, end)
                if row and row[-1] == ("", -1, -1):
                    row[-1] = (text.strip(), start, end)
                elif text.strip():
                    self._add_text(text, offsets, heading_level)
            elif token.type in ("fence", "code_block") and id(token) in located and token.content.strip():
                start, end = located[id(token)]
                self._blocks.append(Block("code", token.content.strip(), start, end, self._path()))
        return self._blocks

    def _path(self) -> tuple[str, ...]:
        return tuple(title for _, title in self._section)

    def _introduction(self) -> int | None:
        """The index of the paragraph just above a list or table, when it stands in the same section."""
        if self._blocks and self._blocks[-1].kind in ("paragraph", "item"):
            block = self._blocks[-1]
            if block.text.rstrip().endswith((":", "：")):
                return len(self._blocks) - 1
        return None

    def _add_text(self, text: str, offsets: list[int], heading_level: int) -> None:
        begin = len(text) - len(text.lstrip())
        text = text.strip()
        span = offsets[begin : begin + len(text)]
        start, end = span[0], span[-1] + 1
        if heading_level:
            while self._section and self._section[-1][0] >= heading_level:
                self._section.pop()
            self._section.append((heading_level, text))
            self._blocks.append(Block("heading", text, start, end, self._path(), tuple(span)))
            return
        if self._lists:
            number, ordered, lead_in = self._lists[-1]
            self._blocks.append(Block("item", text, start, end, self._path(), tuple(span), number, ordered, lead_in))
            return
        self._blocks.append(Block("paragraph", text, start, end, self._path(), tuple(span)))

    def _add_row(self, row: list[tuple[str, int, int]], lead_in: int | None) -> None:
        cells = [(i, text, start, end) for i, (text, start, end) in enumerate(row) if text]
        if not cells:
            return
        text = row_text(self._header, [text for text, _, _ in row])
        start, end = cells[0][2], cells[-1][3]
        self._blocks.append(Block("row", text, start, end, self._path(), list_number=self._list_count, lead_in=lead_in))


def row_text(header: Sequence[str], cells: Sequence[str]) -> str:
    """Write a table row as words; the first cell is what the row is about.

    >>> row_text(["Fee", "Amount"], ["Late payment", "$25"])
    'Late payment: $25'
    >>> row_text(["Limit", "Default", "Highest"], ["ATM", "$1,000", "$1,000"])
    'ATM – Default: $1,000; Highest: $1,000'
    >>> row_text(["费用", "金额"], ["逾期费", "25 美元"])
    '逾期费：25 美元'
    """
    joined = "".join([*header, *cells])
    colon, semicolon, dash = ("：", "；", "——") if has_cjk(joined) else (": ", "; ", " – ")
    subject, rest = (cells[0] if cells else ""), list(cells[1:])
    if len(rest) == 1 and rest[0] and subject:
        return f"{subject}{colon}{rest[0]}"
    parts = [
        f"{header[i + 1]}{colon}{cell}" if i + 1 < len(header) and header[i + 1] else cell
        for i, cell in enumerate(rest)
        if cell
    ]
    return f"{subject}{dash}{semicolon.join(parts)}" if subject and parts else subject or semicolon.join(parts)


# ------------------------------------------------------------------------------------------------- source positions


def _line_starts(body: str) -> list[int]:
    return [0, *(match.end() for match in _LINE_END.finditer(body))]


def _located(tokens: list[Token], body: str, lines: list[int]) -> Iterator[tuple[Token, int, int]]:
    """Yield each token that carries text with the span of the body in which its characters stand."""
    cursor = 0  # within a table row: where the cell before ended
    row_end = 0
    for token in tokens:
        if token.type == "tr_open" and token.map is not None:
            cursor, row_end = _lines_span(token.map, lines, body)
        if token.type not in ("inline", "fence", "code_block") or token.map is None:
            continue
        start, end = _lines_span(token.map, lines, body)
        if token.type != "inline":
            while end > start and body[end - 1].isspace():
                end -= 1
            if end > start:
                yield token, start, end
            continue
        if cursor < row_end and start <= cursor <= end:
            start, end = max(start, cursor), row_end
            if not token.content:
                continue
            found = body.find(token.content, start, end)
            if found >= 0:
                start, end = found, found + len(token.content)
            else:  # an escaped pipe: the cell's source is longer than its content
                while start < end and body[start] in "| \t":
                    start += 1
                stop = _BARE_PIPE.search(body, start, end)
                end = stop.start() if stop is not None else end
                while end > start and body[end - 1].isspace():
                    end -= 1
            cursor = end
        else:
            first = token.content.split("\n", 1)[0]
            found = body.find(first, start, end) if first else -1
            start = found if found >= 0 else start
        if start < end:
            yield token, start, end


def _lines_span(line_map: Sequence[int], lines: list[int], body: str) -> tuple[int, int]:
    start = lines[line_map[0]] if line_map[0] < len(lines) else len(body)
    end = lines[line_map[1]] if line_map[1] < len(lines) else len(body)
    return start, end


def _text_of(token: Token, body: str, start: int, end: int) -> tuple[str, list[int]]:
    texts: list[str] = []
    offsets: list[int] = []
    for child, positions in _aligned(token, body, start, end):
        if positions:
            texts.append(" " if child.type in ("softbreak", "hardbreak") else child.content)
            offsets.extend(positions)
    return "".join(texts), offsets


def _aligned(token: Token, body: str, start: int, end: int) -> Iterator[tuple[Token, list[int]]]:
    """Yield each inline child with the position in the body of each of its characters (never decreasing).

    Markdown drops marks, escapes and link targets, and never reorders text: so each character of the text is looked
    for from where the one before was found. An entity (``&copy;``) stands at its ampersand.
    """
    cursor = start
    for child in token.children or []:
        positions: list[int] = []
        if child.type == "link_close":
            tail = _LINK_TAIL.search(body, cursor, end)
            cursor = tail.end() if tail is not None else cursor
        elif child.type in ("softbreak", "hardbreak"):
            match = _LINE_END.search(body, cursor, end)
            if match is not None:
                positions, cursor = [match.start()], match.end()
        elif child.content:
            for character in child.content:
                found = body.find(character, cursor, end)
                if found < 0:
                    positions.append(min(cursor, end - 1))
                    continue
                positions.append(found)
                cursor = found + 1
        yield child, positions
