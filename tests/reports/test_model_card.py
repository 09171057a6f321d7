"""The model card: what it says of a student, and that foreign text breaks nothing in it."""

import json
from typing import Any

import pytest
import yaml

from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import RunFolder, write_json
from reports import CardFile, best_trial, collect_run, model_card

Maker = Any
INPUTS = InputSpecification(
    channels=3,
    height=32,
    width=48,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    num_classes=3,
)
FILES = tuple(
    CardFile(name=f"student.{ending}", words=ending, sha256=ending[0] * 64, difference=1.5e-6)
    for ending in ("safetensors", "pt2", "onnx")
)
TIMES = "\N{MULTIPLICATION SIGN}"
EVIL = "`a` | <b>\n# heading ``` [x](y) *z*"


def card_of(run: RunFolder, files: tuple[CardFile, ...] = FILES) -> str:
    data = collect_run(run.path)
    trial = best_trial(data)
    assert trial is not None
    return model_card(data, trial, INPUTS, files, tolerance=1e-4, images=16)


def told(run: RunFolder, **changes: Any) -> None:
    write_json(run.experiment_file, {**json.loads(run.experiment_file.read_text()), **changes})


def test_it_says_what_the_student_is_and_how_good(realistic: RunFolder) -> None:
    text = card_of(realistic).replace("\N{NO-BREAK SPACE}", " ")
    selection = realistic.selection()
    assert selection is not None
    for part in (
        "reaches 93.9 % (95 % interval 91.",
        "23,456 parameters, 1.23 M multiply-accumulates an image",
        f"| Distilled from | cnn {TIMES} 1, 93,322 parameters, trained for this run |",
        "the training was given the teacher and no real image",
        f"trial {selection.trial} of the 12 trials of digits",
        "| Relative accuracy, test | 93.9 % | 95 % interval 91.",
        "| Student, test | 91.8 % |",
        "The test split was touched once",
        "The labels of the validation split are real data",
        f"dfkd-tune distill digits --trial {selection.trial}",
        "f" * 64,
        "d" * 64,
        "Git commit: 0123abc",
        "torch 2.11.0",
        "may bind it",
    ):
        assert part in text, part


def test_it_says_what_the_student_takes(realistic: RunFolder) -> None:
    told(
        realistic,
        benchmark_config={"name": "digits", "resize": "squash"},
        class_names=["ant", "b_e", "cat"],
    )
    text = card_of(realistic)
    assert "Images `(N, 3, 32, 48)`: 3 channels (red, green, blue), 32 pixels high" in text
    assert "both sides are brought to this size" in text
    assert [line for line in text.splitlines() if line.startswith(("| 0", "| 1", "| 2"))] == [
        "| 0 | 0.1 | 0.4 |",
        "| 1 | 0.2 | 0.5 |",
        "| 2 | 0.3 | 0.6 |",
    ]
    assert "- 0: ant\n- 1: b\\_e\n- 2: cat\n" in text


def test_every_file_has_its_hash_and_how_to_use_it(realistic: RunFolder) -> None:
    text = card_of(realistic)
    assert 'load_student(Path("."))' in text
    assert 'torch.export.load("student.pt2").module()' in text
    assert 'onnxruntime.InferenceSession("student.onnx")' in text
    assert (
        f"`student.pt2`: pt2. SHA-256 `{'p' * 64}`. Largest difference of a logit: 1.5e-06." in text
    )
    assert "by 0.01 % of the largest logit, or by 0.0001 where that is below 1" in text
    alone = card_of(realistic, FILES[1:2])
    assert "onnxruntime" not in alone
    assert "load_student" not in alone


def test_the_settings_are_whole(realistic: RunFolder) -> None:
    text = card_of(realistic)
    selection = realistic.selection()
    assert selection is not None
    configuration = realistic.trial_folder(selection.trial).trial().configuration
    assert yaml.safe_load(text.split("## Settings\n")[1]) == configuration


@pytest.mark.parametrize(
    ("objective", "data", "expected"),
    [
        ("unlabelled_real", "unlabelled", "Agreement, unseen images"),
        ("data_free", "none", "Agreement with the teacher on the audit set"),
    ],
)
def test_without_labels_it_claims_no_accuracy(
    make_kind: Maker, objective: str, data: str, expected: str
) -> None:
    text = card_of(make_kind(objective, data))
    assert f"| {expected} | " in text
    assert "| Relative accuracy, test" not in text
    assert "given as a weights file" in text


def test_one_distillation_chose_nothing(make_run: Maker, spec: Any) -> None:
    text = card_of(make_run([spec(values=(0.5,))], kind="distill", name="one"))
    assert "| Chosen | one is one distillation: nothing was searched |" in text


def test_foreign_text_breaks_nothing(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,), architecture=EVIL, parameters={EVIL: EVIL})], command=EVIL)
    told(run, class_names=[EVIL], method=EVIL, benchmark=EVIL)
    text = card_of(run)
    assert "<b>" not in text.split("## Settings")[0]
    assert [line for line in text.splitlines() if line.startswith("# ")] == text.splitlines()[:1]
    prose = text.split("## Settings")[0]
    assert prose.count("```") == 6
    rows = [line for line in prose.splitlines() if line.startswith("| Network")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 3
