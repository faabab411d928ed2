"""First weights of a run: another run's, or a package's, whose folded norms are put back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

import onnx  # noqa: E402
from torch import nn  # noqa: E402

from engines.packages.package import load_package, shipped_folder  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop.first_weights import first_weights  # noqa: E402
from training.loop.record import beginning  # noqa: E402
from training.networks.ensemble import Mean  # noqa: E402
from training.networks.registry import build, served  # noqa: E402
from training.package.network import write_onnx  # noqa: E402
from training.package.sixteen_bits import fold_norms, round_weights  # noqa: E402
from training.package.sources import licence_of, with_inherited  # noqa: E402

SYSTEM = replace(EXPERIMENTS["brats-slices-unet"], options={"widths": (16, 16, 16, 16)}, size=(4, 64, 64))


def trained():
    """A network whose norms have seen something."""
    torch.manual_seed(5)
    network = build(SYSTEM)
    with torch.no_grad():
        for _ in range(3):
            network(images())
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
    return network.eval()


def images():
    return torch.randn(2, 4, 4, 64, 64)


def answers(network, image):
    with torch.inference_mode():
        return network.eval()(image)


@pytest.mark.parametrize(("rounded", "compact"), [(True, False), (False, False), (False, True)])
def test_a_network_taken_from_a_package_answers_as_the_package_does(tmp_path, rounded, compact):
    network = trained()
    if rounded:
        fold_norms(network)
        round_weights(network, torch.bfloat16)
    write_onnx(
        Mean([served(network)]).eval(), np.zeros((1, 12, 64, 64), np.float32), tmp_path / "model.onnx", compact=compact
    )
    fresh = build(SYSTEM)
    fresh.load_state_dict(first_weights(build(SYSTEM), tmp_path, [(images(), images())]))
    image = images()
    expected = answers(network, image)
    torch.testing.assert_close(answers(fresh, image), expected, atol=2e-4 * float(expected.abs().max()), rtol=0)


def test_norms_that_were_folded_are_norms_again(tmp_path):
    network = trained()
    fold_norms(network)
    write_onnx(Mean([served(network)]).eval(), np.zeros((1, 12, 64, 64), np.float32), tmp_path / "model.onnx")
    fresh = build(SYSTEM)
    fresh.load_state_dict(first_weights(build(SYSTEM), tmp_path, [(images(), images())]))
    stem = fresh.slices.encoder.stem
    stem.train()
    with torch.inference_mode():
        seen = stem[1](stem[0](torch.randn(8, 12, 64, 64)))
    torch.testing.assert_close(seen.std((0, 2, 3)), stem[1].weight, rtol=0.1, atol=1e-3)


def test_a_run_s_weights_are_taken_as_they_are(tmp_path):
    network = trained()
    torch.save({"weights": network.state_dict(), "score": 0.5}, tmp_path / "best.pt")
    weights = first_weights(build(SYSTEM), tmp_path / "best.pt", [])
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())


def test_another_network_s_package_is_refused(tmp_path):
    other = nn.Sequential(nn.Conv2d(12, 3, 3, padding=1)).eval()
    write_onnx(Mean([other]), np.zeros((1, 12, 64, 64), np.float32), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"weight 0\.weight: expected none of this name"):
        first_weights(build(SYSTEM), tmp_path, [(images(), images())])


def test_a_mean_of_several_is_refused(tmp_path):
    several = Mean([nn.Conv2d(12, 3, 1), nn.Conv2d(12, 3, 1)]).eval()
    write_onnx(several, np.zeros((1, 12, 64, 64), np.float32), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="expected one network"):
        first_weights(build(SYSTEM), tmp_path, [(images(), images())])


def test_a_package_that_misses_a_weight_is_refused(tmp_path):
    network = trained()
    write_onnx(Mean([served(network)]).eval(), np.zeros((1, 12, 64, 64), np.float32), tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name.endswith("last.weight"):
            model.graph.node.extend([onnx.helper.make_node("Identity", ["elsewhere"], [tensor.name])])
            tensor.name = "elsewhere"
    nodes = sorted(model.graph.node, key=lambda node: node.op_type != "Identity")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="the network would not answer as it does"):
        first_weights(build(SYSTEM), tmp_path, [(images(), images())])


def test_norms_in_three_dimensions_are_put_back_too(tmp_path):
    experiment = replace(EXPERIMENTS["brats-resunet3d"], options={"widths": (8, 8, 8, 16)}, size=(16, 32, 32))
    torch.manual_seed(2)
    network = build(experiment)
    image = torch.randn(2, 4, 16, 32, 32)
    with torch.no_grad():
        network(image)
    write_onnx(Mean([network.eval()]).eval(), image[:1].numpy(), tmp_path / "model.onnx")
    fresh = build(experiment)
    fresh.load_state_dict(first_weights(build(experiment), tmp_path, [(image, image)]))
    torch.testing.assert_close(answers(fresh, image), answers(network, image), atol=1e-3, rtol=0)


def test_what_is_trained_on_may_be_of_another_size_than_what_is_served(tmp_path):
    network = trained()
    write_onnx(Mean([served(network)]).eval(), np.zeros((1, 12, 96, 64), np.float32), tmp_path / "model.onnx")
    fresh = build(SYSTEM)
    fresh.load_state_dict(first_weights(build(SYSTEM), tmp_path, [(images(), images())]))
    image = images()
    expected = answers(network, image)
    torch.testing.assert_close(answers(fresh, image), expected, atol=2e-4 * float(expected.abs().max()), rtol=0)


def test_the_data_behind_a_package_is_written_down(tmp_path):
    shipped = load_package(shipped_folder() / "brain-lgg-classifier")
    begun = beginning(shipped.folder)
    assert begun["initial"] == f"brain-lgg-classifier {shipped.version}"
    assert [entry["licence"] for entry in begun["inherited"]] == ["CC BY-NC-SA 4.0"]
    own = [{"name": "ours", "licence": "CC0-1.0", "patients": 3}]
    assert with_inherited(own, begun["inherited"]) == [*own, *begun["inherited"]]
    assert with_inherited(begun["inherited"], begun["inherited"]) == begun["inherited"]
    assert licence_of("CC0-1.0", begun["inherited"]).endswith("data under: CC BY-NC-SA 4.0")
    assert licence_of("Weights: CC BY-NC-SA 4.0", begun["inherited"]) == "Weights: CC BY-NC-SA 4.0"
