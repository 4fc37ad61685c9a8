"""``bench sentiment``: how its files are read and split, and what it finds in an easy set."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError

from lepton_app.benchmarks import sentiment
from lepton_app.benchmarks._sentfin import Headline, part_of, read_sentfin

ENTITIES = ("Aldan", "Borea", "Cinder", "Dovre", "Elm", "Fjord", "Garda", "Hekla", "Inari", "Jura")
SAYINGS = (("{} shares surge", "positive"), ("{} plunges to a low", "negative"), ("{} names a chairman", "neutral"))
ROWS = [(f"{saying.format(name)} {day}", label) for name in ENTITIES for saying, label in SAYINGS for day in range(3)]
GOOD = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
SENTFIN = (
    "S No.,Title,Decisions,Words\n"
    "1,\"Aldan falls, Borea gains\",\"{'Aldan': 'negative', 'Borea': 'positive'}\",4\n"
    "2,Cinder Holdings steady,{'Cinder neutralings': 'neutral'},3\n"
    "3,Dovre's day,{'Dovre's': 'positive'},2\n"
    "4,Elm up,{'Elm': 'better'},2\n"
)


def options(*arguments: str) -> dict[str, Any]:
    parser = ArgumentParser()
    sentiment.add_arguments(parser)
    return vars(parser.parse_args(arguments))


def silent(line: str) -> None:
    assert line


def written(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


def test_rows_that_cannot_be_read_are_left_out_and_names_put_right(tmp_path: Path) -> None:
    path = Path(written(tmp_path, "s.csv", SENTFIN))
    assert read_sentfin(path) == [
        Headline("Aldan falls, Borea gains", (("Aldan", "negative"), ("Borea", "positive"))),
        Headline("Cinder Holdings steady", (("Cinder Holdings", "neutral"),)),
    ]


@pytest.mark.parametrize("content", [GOOD, "Title,Decisions\nElm up,{'Elm': 'better'}\n"])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(CommandError, match=r"Give SEntFiN\.csv as it is published"):
        read_sentfin(Path(written(tmp_path, "s.csv", content)))


def test_a_title_is_on_one_side_whoever_is_asked_about() -> None:
    headlines = [Headline(f"Aldan falls {day}, Borea gains", (("Aldan", "negative"),)) for day in range(400)]
    sides = {side: part_of(headlines, side) for side in ("train", "validation", "holdout")}
    assert sum(map(len, sides.values())) == 400
    assert not set(sides["train"].texts) & set(sides["holdout"].texts)
    assert 290 < len(sides["train"]) < 350
    assert Headline("ALDAN falls 7 -- Borea gains!", ()).side == headlines[7].side


def test_some_headlines_are_learnt_without_an_entity_where_all_agree() -> None:
    agree = [
        Headline(f"Aldan and Borea fall {day}", (("Aldan", "negative"), ("Borea", "negative"))) for day in range(99)
    ]
    differ = [Headline(f"Aldan falls {day}, Elm up", (("Aldan", "negative"), ("Elm", "positive"))) for day in range(99)]
    bare = [text for text in part_of(agree, "train", without_entity=3).texts if "|" not in text]
    assert 10 < len(bare) < 50
    assert all("«" in text for text in part_of(differ, "train", without_entity=1).texts)
    assert all("«" in text for text in part_of(agree, "train").texts)


def test_the_entity_is_read_where_the_file_names_one(tmp_path: Path) -> None:
    content = 'text,label,entity\n"Aldan falls, Borea gains",negative,Aldan\n\nAll calm,neutral,\nElm up,positive\n'
    assert sentiment._read(Path(written(tmp_path, "t.csv", content))) == [
        ("Aldan falls, Borea gains", "negative", "Aldan"),
        ("All calm", "neutral", ""),
        ("Elm up", "positive", ""),
    ]


def test_the_validation_part_holds_whole_texts_of_every_label() -> None:
    rows = [(f"{text} {name}", label, name) for text, label in ROWS for name in ENTITIES[:4]]
    rows += [(text, label, "Other") for text, label, _ in rows]
    held = sentiment._held_out(rows)
    assert 30 <= len(held) <= 36
    assert {label for text, label, _ in rows if sentiment.normalise(text) in held} == {
        "negative",
        "neutral",
        "positive",
    }
    assert sentiment._held_out(rows[:50]) == frozenset()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--train", "a.csv"], "Give both --train and --test, or --sentfin"),
        (["--sentfin", "s.csv", "--test", "a.csv"], "--sentfin brings its own texts"),
        (["--model", "deployed"], "Give the texts to measure on"),
        (["--model", "deployed", "--test", "a.csv", "--set", "epochs=2"], "trains nothing"),
        (["--sentfin", "s.csv", "--set", "epoch=2"], "There is no option 'epoch'"),
        (["--sentfin", "s.csv", "--set", "epochs"], "An option is set as key=value"),
        (["--train", "a.csv", "--test", "a.csv", "--out-dir", "o"], "it needs --sentfin and --method lora"),
        (["--sentfin", "s.csv", "--method", "head", "--out-dir", "o"], "it needs --sentfin and --method lora"),
        (["--sentfin", "gone.csv"], "gone.csv cannot be read"),
    ],
)
def test_what_does_not_go_together_is_told(arguments: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        sentiment.run(options(*arguments), silent)


def test_labels_that_were_never_taught_are_told(tmp_path: Path) -> None:
    train, test = written(tmp_path, "a.csv", GOOD), written(tmp_path, "b.csv", "text,label\nElm up,bullish\n")
    with pytest.raises(CommandError, match="such as 'bullish'"):
        sentiment.run(options("--train", train, "--test", test), silent)


@pytest.mark.django_db
def test_without_a_deployed_model_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"No sentiment model is deployed: manage\.py load_starter"):
        sentiment.run(options("--model", "deployed", "--test", written(tmp_path, "a.csv", GOOD)), silent)


@pytest.mark.weights
def test_the_figures_of_an_easy_set(
    tmp_path: Path, settings: Any, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentiment, "encoder_directory", lambda progress: encoder_folder)
    train = written(tmp_path, "a.csv", GOOD)
    test = written(tmp_path, "b.csv", "text,label\nKolari shares surge,positive\nKolari plunges to a low,negative\n")
    found = sentiment.run(options("--train", train, "--test", test, "--method", "head"), silent)
    assert found["accuracy"] == found["macro_f1"] == found["weighted_f1"] == 1.0
    assert found["per_label"] == {"negative": 1.0, "positive": 1.0}
    assert 0 <= found["ece"] < 0.5
    assert found["trainable_parameters"] > 384 * 3
    assert (found["test_texts"], found["train_texts"], found["method"]) == (2, len(ROWS), "head")


def test_the_published_file_is_read_where_it_is_there(settings: Any) -> None:
    path = settings.BASE_DIR.parent / "shared" / "data" / "sentfin" / "SEntFiN.csv"
    if not path.exists():
        pytest.skip(f"SEntFiN is not at {path}")
    headlines = read_sentfin(path)
    sizes = [len(part_of(headlines, side)) for side in ("train", "validation", "holdout")]
    assert sizes == [11528, 1414, 1429]
