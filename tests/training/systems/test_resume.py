"""A run that was cut off is taken up where its last epoch ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from training.classic import SYSTEMS, Variation  # noqa: E402
from training.loop.keep import Keeper  # noqa: E402
from training.loop.train import Limits, use_threads  # noqa: E402
from training.systems.fit import fit_system  # noqa: E402


class PowerCutError(Exception):
    pass


def test_an_epoch_that_was_finished_is_not_trained_again(tiny_slices, tmp_path, monkeypatch):
    system = replace(
        SYSTEMS["lgg-two-conv"],
        options={"widths": (16, 16), "dense": 16},
        size=(32, 32),
        held_out=0.5,
        batch=4,
        precision="32",
        variation=Variation(),
    )
    use_threads(1)
    finish = Keeper.on_train_epoch_end

    def cut_off(keeper, trainer, learner):
        if trainer.current_epoch == 2:
            raise PowerCutError
        finish(keeper, trainer, learner)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_train_epoch_end", cut_off)
        with pytest.raises(PowerCutError):
            fit_system(system, tiny_slices, tmp_path, Limits(epochs=4))
    left = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert left["epoch"] == 1
    trained = []
    monkeypatch.setattr(
        Keeper, "on_train_epoch_end", lambda k, t, n: (trained.append(t.current_epoch), finish(k, t, n))
    )
    history = fit_system(system, tiny_slices, tmp_path, Limits(epochs=4, resume=True))
    assert trained == [2, 3]
    assert [entry["epoch"] for entry in history] == [0, 1, 2, 3]
