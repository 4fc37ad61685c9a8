"""Markdown: rendered without danger, and cut into blocks that know where they stand."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.markdown import parse_blocks, plain_text, render_html, sanitise_html

MARKDOWN = st.text(alphabet=st.sampled_from(list("ab 1#*_`[]()|-\n>.!&;\\:银。\t~<\"'/")), max_size=120) | st.lists(
    st.sampled_from(
        [
            "# Head\n",
            "text **bold** x. ",
            "- item\n",
            "1. step\n",
            "\n\n",
            "| a | b |\n|---|---|\n| c | d\\|e |\n",
            "> q\n",
            "[link](x 'y') ",
            "`code`",
            "&amp; &copy;",
            "```\ncode\n```\n",
            "中文。",
            "<b>x</b>",
            "\r\n",
            "\\*",
            "http://a.b ",
        ]
    ),
    max_size=14,
).map("".join)


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:msgbox(1))",
        "[x](file:///etc/passwd)",
        "![x](https://spy.example/pixel.png)",
        "<javascript:alert(1)>",
        "[x]: javascript:alert(1)\n\n[x]",
        "<a href='javascript:alert(1)'>x</a>",
        "<iframe src=https://evil.example></iframe>",
        "<style>body{display:none}</style>",
        "| <script>a</script> | b |\n|---|---|\n| <img onerror=x src=y> | d |",
        "```html\n<script>alert(1)</script>\n```",
        '[x](https://a.example "onmouseover=alert(1)")',
        '[x](https://a.example/"onmouseover="alert(1))',
    ],
)
@pytest.mark.parametrize("mark", [None, (0, 12), (3, 500)])
def test_no_script_handler_or_foreign_scheme_survives(attack: str, mark: tuple[int, int] | None) -> None:
    html = render_html(f"Before {attack} after\n\n{attack}", mark=mark)
    for tag, attributes in Tags(html).found:
        assert tag not in {"script", "img", "svg", "iframe", "style", "object", "form"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        href = attributes.get("href") or ""
        assert not re.match(r"\s*(javascript|data|vbscript|file):", href, re.IGNORECASE)


def test_sanitise_drops_what_raw_html_could_bring() -> None:
    assert sanitise_html('<p onclick="x">a<script>b</script></p><a href="javascript:c">d</a>') == (
        '<p>a</p><a rel="noopener noreferrer nofollow">d</a>'
    )


def test_renders_the_links_that_are_allowed() -> None:
    html = render_html("[a](card-freeze) [b](https://x.example) [c](mailto:a@b.example)")
    assert [attributes["href"] for tag, attributes in Tags(html).found if tag == "a"] == [
        "card-freeze",
        "https://x.example",
        "mailto:a@b.example",
    ]


@pytest.mark.parametrize(
    ("body", "words", "expected"),
    [
        ("Pay **now**. Later.", "Later.", "<p>Pay <strong>now</strong>. <mark>Later.</mark></p>"),
        ("Pay **now or** never.", "or** never", "<p>Pay <strong>now <mark>or</mark></strong><mark> never</mark>.</p>"),
        ("Use `a<b`.", "a<b", "<p>Use <mark><code>a&lt;b</code></mark>.</p>"),
        ("- one\n- two", "two", "<ul>\n<li>one</li>\n<li><mark>two</mark></li>\n</ul>"),
        ("```\nx < 1\n```", "x < 1", "<pre><code><mark>x &lt; 1\n</mark></code></pre>"),
        (
            "See [fees](fees.b). Ok.",
            "Ok",
            '<a href="fees.b" rel="noopener noreferrer nofollow">fees</a>. <mark>Ok</mark>.',
        ),
    ],
)
def test_marks_the_words_of_a_span(body: str, words: str, expected: str) -> None:
    start = body.index(words)
    assert expected in render_html(body, mark=(start, start + len(words)))


def test_marks_the_cells_of_a_row() -> None:
    body = "| Fee | Amount |\n|---|---|\n| Late | $25 |\n| Card | $8 |"
    start = body.index("Late")
    html = render_html(body, mark=(start, body.index(" |\n| Card")))
    assert "<td><mark>Late</mark></td>\n<td><mark>$25</mark></td>" in html
    assert html.count("<mark>") == 2


def test_blocks_of_an_article() -> None:
    body = "Intro\ntext.\n\n## Fees\n\nFree:\n\n- **ATM** cash\n  inland\n- cards\n\n### More\n\n"
    body += "| A | B |\n|---|---|\n| c | d |\n"
    blocks = parse_blocks(body)
    assert [(b.kind, b.text, body[b.start : b.end], b.section) for b in blocks] == [
        ("paragraph", "Intro text.", "Intro\ntext.", ()),
        ("heading", "Fees", "Fees", ("Fees",)),
        ("paragraph", "Free:", "Free:", ("Fees",)),
        ("item", "ATM cash inland", "ATM** cash\n  inland", ("Fees",)),
        ("item", "cards", "cards", ("Fees",)),
        ("heading", "More", "More", ("Fees", "More")),
        ("row", "c: d", "c | d", ("Fees", "More")),
    ]
    assert [b.lead_in for b in blocks] == [None, None, None, 2, 2, None, None]


def test_rows_with_escaped_pipes_and_empty_cells() -> None:
    body = "| A | B | C |\n|---|---|---|\n| x | `y` \\| z | |\n| p |  | q |\n"
    rows = [block for block in parse_blocks(body) if block.kind == "row"]
    assert [(row.text, body[row.start : row.end]) for row in rows] == [
        ("x – B: y | z", "x | `y` \\| z"),
        ("p – C: q", "p |  | q"),
    ]


def test_headings_that_go_back_up_close_the_deeper_ones() -> None:
    sections = [b.section for b in parse_blocks("# A\n## B\n### C\n## D\ntext")]
    assert sections == [("A",), ("A", "B"), ("A", "B", "C"), ("A", "D"), ("A", "D")]


def test_plain_text_has_no_markdown() -> None:
    assert plain_text("# *Big*\n\n[a](b) `c`\n- d") == "Big\na c\nd"


@given(MARKDOWN)
def test_blocks_stand_in_the_source_and_offsets_never_go_back(body: str) -> None:
    for block in parse_blocks(body):
        assert 0 <= block.start < block.end <= len(body)
        assert body[block.start : block.end].strip()
        if block.offsets:
            assert len(block.offsets) == len(block.text)
            assert list(block.offsets) == sorted(block.offsets)
            assert (block.start, block.end) == (block.offsets[0], block.offsets[-1] + 1)


@given(MARKDOWN, st.integers(0, 130), st.integers(0, 130))
def test_a_mark_changes_no_word_of_the_page(body: str, start: int, end: int) -> None:
    marked = render_html(body, mark=(start, end))
    without = re.sub(r"</?mark>", "", marked)
    plain = render_html(body)
    # A marked code block loses its class; nothing else may differ.
    assert re.sub(r"<[^>]*>", "", without) == re.sub(r"<[^>]*>", "", plain)
