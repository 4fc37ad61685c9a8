from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError

from lepton_app.benchmarks import _inputs, encoder, intents

GOOD = "text,category\n" + "".join(
    f"{opening} {core},{label}\n"
    for label, core in (("lost", "my card is lost"), ("balance", "how much money is left"), ("close", "end my account"))
    for opening in ("please", "hello", "hi", "sorry", "so", "well", "hey", "now", "look", "ok")
)


def options(*arguments: str) -> dict[str, Any]:
    parser = ArgumentParser()
    intents.add_arguments(parser)
    return vars(parser.parse_args(arguments))


def silent(line: str) -> None:
    assert line


def files(folder: Path, train: str | bytes, test: str = GOOD) -> dict[str, Any]:
    (folder / "train.csv").write_bytes(train if isinstance(train, bytes) else train.encode())
    (folder / "test.csv").write_text(test)
    return options("--train", str(folder / "train.csv"), "--test", str(folder / "test.csv"))


@pytest.fixture
def exported(encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(intents, "encoder_directory", lambda progress: encoder_folder)
    monkeypatch.setattr(encoder, "encoder_directory", lambda progress: encoder_folder)
    return encoder_folder


@pytest.mark.weights
@pytest.mark.usefixtures("exported")
class TestWithEncoder:
    @pytest.mark.parametrize(
        ("train", "reason"),
        [
            ("", r"no column 'text' and no column 'category'.*Name the columns"),
            ("text,label\na,b\n", r"no column 'category'"),
            ("text,category\n", r"a header and no rows"),
            ("text,category\nhello,\n", r"line 2: 'category' is empty"),
            ("text,category\nhello\n", r"line 2: 'category' is empty"),
            ('text,category\n"hello,x\n', r"line 2: unexpected end of data"),
            ("text,category\nhello,x\nbye,x\n", r"all 2 texts have the label 'x'|has 3 labels"),
            (b"text,category\nh\xe9llo,x\n", r"is not UTF-8 \(line 2\)\. Save it as UTF-8"),
        ],
    )
    def test_a_bad_training_file_is_told_with_the_remedy(self, tmp_path: Path, train: str | bytes, reason: str) -> None:
        with pytest.raises(CommandError, match=reason):
            intents.run(files(tmp_path, train), silent)

    def test_one_label_is_refused(self, tmp_path: Path) -> None:
        one = "text,category\nhello,x\nbye,x\n"
        with pytest.raises(CommandError, match=r"train\.csv: .*all 2 texts have the label 'x'"):
            intents.run(files(tmp_path, one, one), silent)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        gone = str(tmp_path / "gone.csv")
        with pytest.raises(CommandError, match=r"gone\.csv cannot be read: No such file"):
            intents.run(options("--train", gone, "--test", gone), silent)

    def test_labels_of_the_test_that_were_never_taught_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=r"1 labels that .* such as 'strange'"):
            intents.run(files(tmp_path, GOOD, GOOD + "what,strange\n"), silent)

    def test_the_figures_of_an_easy_set(self, tmp_path: Path) -> None:
        (tmp_path / "oos.txt").write_text("boil the rice\n\nthunder over mountains\n", encoding="utf-8")
        wanted = files(tmp_path, GOOD, GOOD)
        wanted |= {"oos": tmp_path / "oos.txt", "oos_valid": tmp_path / "oos.txt"}
        figures = intents.run(wanted, silent)
        assert (figures["accuracy"], figures["int8_accuracy"], figures["macro_f1"]) == (1.0, 1.0, 1.0)
        assert (figures["oos_auroc"], figures["oos_recall"]) == (1.0, 1.0)
        assert 0 < figures["fit_seconds"] < 60
        assert figures["int8_p50_ms"] > 0
        assert figures["trainable_parameters"] == figures["total_parameters"] > 384 * 3
        assert (figures["train_texts"], figures["test_texts"], figures["labels"]) == (30, 30, 3)
        json.dumps(figures)

    def test_a_set_too_small_to_encode_twice_is_encoded_twice_on_request(self, tmp_path: Path) -> None:
        figures = intents.run(files(tmp_path, GOOD) | {"fp32": True}, silent)
        assert (figures["int8_accuracy"], figures["fp32_accuracy"], figures["precision"]) == (1.0, 1.0, "int8")

    def test_labels_that_are_not_known_are_to_be_refused(self, tmp_path: Path) -> None:
        wanted = files(tmp_path, GOOD) | {"known_share": 0.67, "draws": 3}
        figures = intents.run(wanted, silent)
        assert (figures["known_labels"], figures["labels"], figures["draws"]) == (2, 3, 3)
        assert figures["false_refusals"] == 0.12
        assert figures["accuracy"] == 1.0
        assert figures["oos_auroc"] > 0.9
        known = 20 * (1 - figures["in_scope_refused"]) + 10 * figures["oos_recall"]
        assert figures["open_set_accuracy"] == pytest.approx(known / 30, abs=1e-4)
        stricter = intents.run(wanted | {"set": ["false_refusals=0.4"]}, silent)
        assert stricter["in_scope_refused"] >= figures["in_scope_refused"]
        assert stricter["false_refusals"] == 0.4

    def test_a_share_that_leaves_no_label_unknown_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=r"0\.9 of 3 labels are 3 known ones"):
            intents.run(files(tmp_path, GOOD) | {"known_share": 0.9}, silent)

    def test_a_tuned_encoder_is_measured_like_the_head(self, tmp_path: Path) -> None:
        wanted = files(tmp_path, GOOD) | {"method": "lora", "set": ["epochs=1", "rank=2", "targets=query_value"]}
        figures = intents.run(wanted, silent)
        assert figures["accuracy"] == 1.0
        assert figures["precision"] in ("int8", "fp32")
        assert 0 < figures["trainable_parameters"] < figures["total_parameters"]
        assert figures["total_parameters"] > 20_000_000
        assert figures["samples_per_second"] > 0

    def test_the_folds_of_smp2019(self, tmp_path: Path) -> None:
        rows = [
            {"text": f"{opening}{core}", "domain": domain, "intent": "QUERY"}
            for domain, core in (("bank", "查询余额"), ("train", "去上海的火车票"))
            for opening in ("请", "帮我", "我要", "麻烦", "快", "想", "能否")
        ]
        rows.append({"text": "只有一条", "domain": "rare", "intent": "QUERY"})
        (tmp_path / "smp.json").write_text(json.dumps(rows), encoding="utf-8")
        figures = intents.run(options("--smp2019", str(tmp_path / "smp.json")), silent)
        assert (figures["accuracy"], figures["texts"], figures["labels"], figures["folds"]) == (1.0, 14, 2, 5)

    def test_the_encoder_is_measured_against_torch(self, tmp_path: Path) -> None:
        (tmp_path / "texts.txt").write_text("where is my card\nhello\n余额\n", encoding="utf-8")
        figures = encoder.run({"texts": tmp_path / "texts.txt", "most": 10, "rounds": 1}, silent)
        assert figures["texts"] == 3
        assert figures["min_cosine_fp32"] > 0.9999
        assert 0.95 < figures["mean_cosine_int8"] < 1
        assert min(value for name, value in figures.items() if name.endswith(("_second", "_text"))) > 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "Give both --train and --test"),
        (["--train", "a"], "Give both --train and --test"),
        (["--train", "a", "--test", "b", "--oos-valid", "c"], "give --oos as well"),
        (["--smp2019", "a", "--train", "b"], "brings its own texts"),
        (["--smp2019", "a", "--known-share", "0.5"], "brings its own texts"),
        (["--train", "a", "--test", "b", "--known-share", "1"], "between 0 and 1"),
        (["--train", "a", "--test", "b", "--known-share", "0.5", "--draws", "0"], "at least 1"),
        (["--train", "a", "--test", "b", "--known-share", "0.5", "--oos", "c"], "unknown texts from --test"),
        (["--train", "a", "--test", "b", "--set", "epochs"], "key=value"),
        (["--train", "a", "--test", "b", "--set", "colour=red"], "no option 'colour'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        intents.run(options(*arguments), silent)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("{}", "holds no list"),
        ('[{"text": "a"}]', "entry 1: 'text' and 'domain'"),
        ('[{"text": "a", "domain": "b", "intent": "c"}]', "fewer than two pairs"),
    ],
)
def test_a_bad_smp2019_file_is_told(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "smp.json").write_text(content)
    with pytest.raises(CommandError, match=reason):
        _inputs.read_smp2019(tmp_path / "smp.json", least_rows=5)


def test_lines_are_read_without_mark_and_blanks(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes("\ufeffone\r\n\r\n 二 \n".encode())
    assert _inputs.read_lines(tmp_path / "lines.txt") == ["one", "二"]
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(CommandError, match="holds no text"):
        _inputs.read_lines(tmp_path / "empty.txt")
    with pytest.raises(CommandError, match="cannot be read: Is a directory"):
        _inputs.read_lines(tmp_path)
