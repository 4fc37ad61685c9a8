"""Personal data is masked in English and Chinese, and figures that are nobody's own stay."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_app.lib.redaction import redact

MASKED = [
    # e-mail
    ("mail john.smith+bank@mail.example.co.uk now", "mail [email] now"),
    ("我的邮箱是liwei_88@qq.com，请发给我", "我的邮箱是[email]，请发给我"),
    ("发到ｌｉ＠ｑｑ．ｃｏｍ", "发到[email]"),
    # cards
    ("card 4111111111111111 was stolen", "card [card] was stolen"),
    ("card 4111 1111 1111 1111 was stolen", "card [card] was stolen"),
    ("5500-0000-0000-0004", "[card]"),
    ("amex 3782 822463 10005.", "amex [card]."),
    ("我的卡号是6225 8801 3745 1234，丢了", "我的卡号是[card]，丢了"),
    ("卡号４１１１１１１１１１１１１１１１被吞了", "卡号[card]被吞了"),
    ("a typing error 4111 1111 1111 1112 in it", "a typing error [account] in it"),
    # accounts
    ("to DE89 3704 0044 0532 0130 00 please", "to [account] please"),
    ("GB82WEST12345698765432 is mine", "[account] is mine"),
    ("my account 12345678, sort code 12-34-56", "my account [account], sort code 12-34-56"),
    ("转到账户62284804028945", "转到账户[account]"),
    ("reference ACC0098765432", "reference ACC[account]"),
    # identity numbers
    ("身份证11010519491231002X", "身份证[id]"),
    ("my ID is 440308199901010012, ok", "my ID is [id], ok"),
    ("身份证号 110105 19491231 0021 对吗", "身份证号 [id] 对吗"),
    # phones
    ("call +1 (555) 123-4567 today", "call [phone] today"),
    ("+44 20 7946 0958", "[phone]"),
    ("ring 0049 30 1234567", "ring [phone]"),
    ("or +8613800138000", "or [phone]"),
    ("手机号13912345678收不到短信", "手机号[phone]收不到短信"),
    ("打138-0013-8000", "打[phone]"),
    ("座机 010-65551234", "座机 [phone]"),
    ("我在深圳，(0755)8888666 6", "我在深圳，[phone] 6"),
    ("客服 400-820-8820", "客服 [phone]"),
    ("555-123-4567 or (555) 765-4321", "[phone] or [phone]"),
    ("it is 020 7946 0958, 06 12 34 56 78 or 030/12345678", "it is [phone], [phone] or [phone]"),
    ("my phone number is 2345 6789", "my phone number is [phone]"),
    ("Call me at 555-0199", "Call me at [phone]"),
    ("电话：6555 1234", "电话：[phone]"),
    # several at once
    (
        "I am li@example.com, 13800138000, card 4111-1111-1111-1111",
        "I am [email], [phone], card [card]",
    ),
]

STAYS = [
    "",
    "no numbers at all",
    "I was charged 1,250.00 on 2024-05-01",
    "2000元",
    "我转了20000000元，还没有到账",
    "人民币 12345678 是多少",
    "I lost $12345678 and 10000000 dollars",
    "12345678.90 and 0.12345678 and 1.23456789%",
    "sold 15000000 shares at 12.5",
    "order 1234567, ticket 00123",
    "on 20240501 and 01.02.2024 12 people came",
    "between 2019 and 2020, 2019-2020, 2019 2020 2021 2022",
    "at 12:30:45 on 31/12/2023",
    "2024年5月1日 12点30分",
    "95588是工商银行的电话",
    "my top 10 of 100 things @ home",
    "@jack said so",
    "Rs 1,00,00,000 for FY2019-20",
    "S&P 500 up 0.5 %, Nikkei 28,000",
    "card ending in 1234, PIN 0000",
    "EU27 this that them with",
    "192.168.100.200",
    "4000 20 10",
]


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert redact(text) == masked
    assert redact(masked) == masked


@pytest.mark.parametrize("text", STAYS)
def test_what_is_nobodys_own_stays(text: str) -> None:
    assert redact(text) == text


@given(
    st.lists(st.sampled_from([*"0123456789", *"0123456789", *"+-. ()@/,$[]X：元", "phone ", "电话", "a@b.cn", "DE89"]))
)
def test_masking_twice_changes_nothing_more(pieces: list[str]) -> None:
    once = redact("".join(pieces))
    assert redact(once) == once


@given(st.text())
def test_any_text_can_be_masked(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


def test_a_long_text_of_digits_does_not_take_long() -> None:
    started = time.perf_counter()
    redact("0 1-" * 5000)
    redact("DE89 " * 4000)
    redact("a" * 20_000 + "@")
    assert time.perf_counter() - started < 5
