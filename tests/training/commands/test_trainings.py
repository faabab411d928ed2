"""`train`, `export` and `evaluate`, one after the other, as a person would call them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs the `train` extra")

from training.cli import app
from training.experiments import EXPERIMENTS


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_network_is_trained_exported_and_measured(tiny_lgg, tmp_path):
    run, models = tmp_path / "run", tmp_path / "models"
    budget = ("--minutes", 0.02, "--phantoms", 0, "--threads", 1)
    trained = call("train", "lgg-classifier", "--data", tiny_lgg, "--out", run, *budget)
    assert trained.exit_code == 0, trained.output
    assert (run / "best.pt").exists()
    exported = call("export", "lgg-classifier", "--data", tiny_lgg, "--run", run, "--out", models)
    assert exported.exit_code == 0, exported.output
    assert (models / "brain-lgg-classifier" / "MODEL_CARD.md").exists()
    figures = tmp_path / "figures.json"
    command = ("evaluate", models / "brain-lgg-classifier", "--data", tiny_lgg, "--out", figures)
    measured = call(*command, "--report", tmp_path / "report")
    assert measured.exit_code == 0, measured.output
    assert "AUC by slice" in measured.output
    card = (models / "brain-lgg-classifier" / "MODEL_CARD.md").read_text()
    again = json.loads(figures.read_text())
    assert len(again) == 5
    for figure in again:  # the card's figures, digit by digit
        low, high = (f"{round(bound, 4):.3f}" for bound in figure["interval"])
        row = f"| {figure['metric']} | {round(figure['value'], 4):.3f} | {low} to {high} | {figure['n']} |"
        assert row in card
        assert row in (tmp_path / "report" / "report.md").read_text()
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.md",
        "figures.json",
        "gallery.png",
        "reliability.png",
    }
    assert (run / "gallery.png").exists()


def test_an_unknown_name_lists_what_there_is(tiny_lgg):
    result = call("train", "no-such-network", "--data", tiny_lgg)
    assert result.exit_code == 2
    assert "lgg-resunet" in result.output


def test_a_recipe_is_changed_by_a_file(tmp_path):
    config = tmp_path / "change.yaml"
    config.write_text("batch: 4\naugmentation: {rotation: 3}\n")
    before, after = EXPERIMENTS["lgg-resunet"], EXPERIMENTS["lgg-resunet"].changed(config)
    assert after == replace(before, batch=4, augmentation=replace(before.augmentation, rotation=3.0))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("options: {widths: [16]}", "widths"),
        ("augmentation: {turn: 3}", "turn"),
        ("batch: many", "batch"),
        ("- batch", "keys"),
        ("ema: 2", "ema"),
        ("a: [", "YAML"),
    ],
)
def test_a_wrong_change_of_a_recipe_is_refused(change, word, tiny_lgg, tmp_path):
    config = tmp_path / "change.yaml"
    config.write_text(change)
    result = call("train", "lgg-resunet", "--data", tiny_lgg, "--config", config, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert word in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--phantoms", "--variant"])
def test_what_only_recipes_have_is_refused_for_a_system(option, tiny_lgg, tmp_path):
    result = call("train", "lgg-two-conv", "--data", tiny_lgg, "--out", tmp_path / "run", option, 1)
    assert result.exit_code == 2
    assert option in result.output
    assert not (tmp_path / "run").exists()


def test_a_system_that_is_solved_for_has_no_steps(tiny_lgg, tmp_path):
    result = call("train", "yesno-frozen-lite", "--data", tiny_lgg, "--out", tmp_path / "run", "--epochs", 2)
    assert result.exit_code == 2
    assert "--epochs" in result.output


def test_runs_by_slice_are_measured_alone_and_together(tiny_lgg, tmp_path, monkeypatch):
    small = {"options": {"widths": (16, 32)}, "per_epoch": 8, "batch": 4}
    monkeypatch.setitem(EXPERIMENTS, "lgg-resunet", replace(EXPERIMENTS["lgg-resunet"], **small))
    another = replace(EXPERIMENTS["lgg-resunet"], name="lgg-wider", options={"widths": (32, 48)})
    monkeypatch.setitem(EXPERIMENTS, "lgg-wider", another)
    runs = [tmp_path / "one", tmp_path / "other"]
    for name, run in zip(("lgg-resunet", "lgg-wider"), runs, strict=True):
        options = ("--split", "slice", "--epochs", 1, "--phantoms", 0, "--threads", 1)
        trained = call("train", name, "--data", tiny_lgg, "--out", run, *options)
        assert trained.exit_code == 0, trained.output
    said = json.loads((runs[0] / "figures.json").read_text())
    figures = tmp_path / "figures.json"
    alone = call("evaluate", runs[0], "--data", tiny_lgg, "--out", figures)
    assert alone.exit_code == 0, alone.output
    assert json.loads(figures.read_text()) == said
    together = call("evaluate", runs[0], "--run", runs[1], "--data", tiny_lgg, "--out", figures)
    assert together.exit_code == 0, together.output
    assert "Tversky" in together.output
    assert json.loads(figures.read_text()) != said
    record = json.loads((runs[1] / "record.json").read_text())
    record["experiment"]["seed"] += 1
    (runs[1] / "record.json").write_text(json.dumps(record))
    elsewhere = call("evaluate", runs[0], "--run", runs[1], "--data", tiny_lgg)
    assert elsewhere.exit_code == 2
    assert "lgg-resunet and lgg-wider differ in seed" in " ".join(elsewhere.output.replace("│", " ").split())
    refused = call("evaluate", runs[0], "--data", tiny_lgg, "--everyone")
    assert refused.exit_code == 2
    (tmp_path / "elsewhere" / "kaggle_3m").mkdir(parents=True)
    other = call("evaluate", runs[0], "--data", tmp_path / "elsewhere")
    assert other.exit_code == 2
    assert "not the data" in " ".join(other.output.split())
