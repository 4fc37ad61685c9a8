"""How a text is written that is read as being about something: every mention marked, nothing forged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_app.learning.texts import about, normalise

SIGNS = ("«", "»", "|")


@pytest.mark.parametrize(
    ("text", "entity", "written"),
    [
        ("Gold up, GOLD futures up", "gold", "gold | « Gold » up, « GOLD » futures up"),
        ("Golden Cross Ltd gains", "Gold", "Gold | « Gold » en Cross Ltd gains"),
        ("Goldman slips as gold gains", "gold", "gold | Goldman slips as « gold » gains"),
        ("Tata  Motors rallies", "tata motors", "tata motors | « Tata Motors » rallies"),
        ("Tata Steel falls", "Tata Motors", "Tata Motors | « Tata » Steel falls"),
        ("L&T Finance soars", "L&T Finance Holdings", "L&T Finance Holdings | « L&T Finance » soars"),
        ("A-shares rise (RIL)", "RIL", "RIL | A-shares rise ( « RIL » )"),
        ("腾讯控股上涨，阿里下跌", "腾讯", "腾讯 | « 腾讯 » 控股上涨，阿里下跌"),
        ("买入TCS股票", "tcs", "tcs | 买入 « TCS » 股票"),
        ("Nothing of the kind", "Shell plc", "Shell plc | Nothing of the kind"),
        ("a.b (c+ rises", "(c+", "(c+ | a.b « (c+ » rises"),
    ],
)
def test_mentions_are_marked(text: str, entity: str, written: str) -> None:
    """Whole words before parts of words, whole names before parts of names, in both languages."""
    assert about(text, entity) == written


def test_two_entities_of_one_text_are_two_texts() -> None:
    """Otherwise the second label of a headline would contradict the first."""
    title = "SpiceJet falls as IndiGo gains"
    assert normalise(about(title, "SpiceJet")) != normalise(about(title, "IndiGo"))


@given(st.text(), st.text())
def test_only_about_itself_writes_the_signs(text: str, entity: str) -> None:
    """A text cannot forge a mention, and each mention is closed."""
    assert not any(sign in about(text, "") for sign in SIGNS)
    written = about(text, entity)
    head, bar, rest = written.partition(" | ")
    assert "|" not in rest
    if not bar:
        assert written == about(text, "")
        return
    assert not any(sign in head for sign in SIGNS)
    assert rest.count("«") == rest.count("»")


@given(st.text(alphabet="ab «»|汉", max_size=12), st.text(alphabet="ab «»|汉", max_size=5))
def test_a_written_text_asks_nothing_when_it_comes_back(text: str, entity: str) -> None:
    """What was written once and comes back as somebody's text carries no sign any more."""
    assert not any(sign in about(about(text, entity), "") for sign in SIGNS)


def test_a_long_text_takes_no_time() -> None:
    """Ten thousand words, with a name of many words that is not there."""
    assert about("gain " * 10_000, "gain loss " * 50).startswith("gain loss gain loss")
