"""The admission gate, with networks that really answer differently."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from engines.backends.onnxruntime.engine import OnnxRuntimeEngine
from engines.backends.openvino.engine import OpenVinoEngine, packed
from engines.choose import candidates, open_engine, verify
from engines.contract import EngineSettings
from engines.errors import GateRefused, NoEngine, NotFinite, PackageInvalid
from engines.gate import admit, agreement, compare, reference_feeds
from engines.packages.package import load_package
from tests.engines.backends.tensorrt.fake_gpu import install
from tests.engines.conftest import images, manifest, network, node, plain_sample, segmenter, write

REFERENCE = EngineSettings(backend="onnxruntime", threads=1)


def with_variant(folder, variant: bytes, **changes):
    """The segmenter with another network as its INT8 variant, which the gate has to judge."""
    folder.mkdir(parents=True)
    (folder / "model.int8.onnx").write_bytes(variant)
    variants = {"int8": {"file": "model.int8.onnx", "sha256": hashlib.sha256(variant).hexdigest()}}
    reference = {"image": images(4, 3, 32, 32)}
    return load_package(write(folder, manifest(variants=variants, **changes), segmenter(), reference))


def shifted(by: float) -> bytes:
    return network(
        [node("Conv", "image weight bias", "logits")],
        {"image": ["batch", 3, 32, 32]},
        {"logits": ["batch", 1, 32, 32]},
        weight=np.full((1, 3, 1, 1), 4 / 3, np.float32),
        bias=np.array([by], np.float32),
    )


def breaks_below_minus_100() -> bytes:
    """The segmenter's answer, and NaN where the mean of the channels is below -100."""
    return network(
        [
            node("Conv", "image weight", "mean"),
            node("Add", "mean offset", "raised"),
            node("Sqrt", "raised", "root"),
            node("Mul", "root zero", "nothing"),
            node("Add", "mean nothing", "logits"),
        ],
        {"image": ["batch", 3, 32, 32]},
        {"logits": ["batch", 1, 32, 32]},
        weight=np.full((1, 3, 1, 1), 4 / 3, np.float32),
        offset=np.array([400], np.float32),
        zero=np.array([0], np.float32),
    )


def test_an_engine_agrees_with_itself(sample):
    with OnnxRuntimeEngine(sample.package, REFERENCE) as one, OnnxRuntimeEngine(sample.package, REFERENCE) as two:
        found = compare(one, two, sample.feeds(3))
    assert found.problems(sample.package.manifest.tolerance) == ()
    assert found.max_difference == found.outliers == 0
    assert set(found.dice.values()) <= {1.0}


def test_agreement_is_arithmetic(plain):
    theirs = np.full((1, 1, 32, 32), -5, np.float32)
    theirs[..., :10] = 5
    ours = theirs.copy()
    ours[..., :12] = 5
    found = agreement(plain.package.manifest, {"logits": ours}, {"logits": theirs})
    assert found.dice == {"logits/tumour": pytest.approx(2 * 10 / 22)}
    assert found.outliers == pytest.approx(2 / 32)
    assert found.max_difference == pytest.approx(1 / (1 + np.exp(-5)) - 1 / (1 + np.exp(5)))
    assert len(found.problems(plain.package.manifest.tolerance)) == 2


def test_no_voxels_at_all_are_agreement(plain):
    empty = {"logits": np.zeros((0, 1, 32, 32), np.float32)}
    assert agreement(plain.package.manifest, empty, dict(empty)).problems(plain.package.manifest.tolerance) == ()


def test_a_right_engine_is_admitted(plain):
    engine = open_engine(plain.package, EngineSettings(backend="openvino", precision="fp32"))
    with engine:
        gate = engine.description.gate
    assert gate.dice == pytest.approx(1, abs=1e-3)
    assert gate.max_difference < 1e-3
    assert not gate.cached


def test_a_wrong_engine_is_refused(tmp_path):
    package = with_variant(tmp_path / "tiny", shifted(1))
    with OpenVinoEngine(package, EngineSettings(backend="openvino", precision="int8")) as engine:
        with pytest.raises(GateRefused, match=r"Dice of logits/tumour is 0\.\d+, below 0\.995"):
            admit(engine)
        assert engine.description.gate is None


def test_refusal_falls_through_to_the_next(tmp_path):
    with open_engine(with_variant(tmp_path / "tiny", shifted(1))) as engine:
        described = engine.description
    assert described.precision != "int8"
    assert any("openvino int8" in reason for reason in described.passed_over)


def test_a_named_precision_has_no_substitute(tmp_path):
    package = with_variant(tmp_path / "tiny", shifted(1))
    with pytest.raises(NoEngine, match="openvino int8: tiny gives different results from the reference"):
        open_engine(package, EngineSettings(backend="openvino", precision="int8"))


def in_own_form(folder, network: bytes):
    """The segmenter with an INT8 variant in OpenVINO's own form."""
    import openvino

    model = openvino.Core().read_model(network)
    model.reshape({"image": [1, 3, 32, 32]})
    variant = packed(model)
    folder.mkdir(parents=True)
    (folder / "model.int8.zip").write_bytes(variant)
    entry = {"file": "model.int8.zip", "sha256": hashlib.sha256(variant).hexdigest(), "format": "openvino"}
    return load_package(write(folder, manifest(variants={"int8": entry}), segmenter(), {"image": images(4, 3, 32, 32)}))


def test_a_variant_in_the_engine_s_own_form_serves(tmp_path):
    package = in_own_form(tmp_path / "tiny", segmenter())
    inputs = images(3, 3, 32, 32)
    with open_engine(package, EngineSettings(threads=1)) as engine, OnnxRuntimeEngine(package, REFERENCE) as reference:
        assert engine.description.precision == "int8"
        wanted = reference.infer({"image": inputs})["logits"]
        np.testing.assert_allclose(engine.infer({"image": inputs})["logits"], wanted, atol=0.05)


def test_other_engines_neither_try_it_nor_take_it(tmp_path, monkeypatch):
    package = in_own_form(tmp_path / "tiny", segmenter())
    tried = [(one.backend, one.settings.precision) for one in candidates(package, EngineSettings())]
    assert ("openvino", "int8") in tried
    assert ("tensorrt", "int8") not in tried
    with pytest.raises(NoEngine, match="that variant of tiny is for openvino only"):
        open_engine(package, EngineSettings(backend="onnxruntime", precision="int8"))
    install(monkeypatch)
    with pytest.raises(NoEngine, match="that variant of tiny is for openvino only"):
        open_engine(package, EngineSettings(backend="tensorrt", precision="int8"))


def test_own_form_that_cannot_be_read_is_passed_over(tmp_path):
    package = in_own_form(tmp_path / "tiny", segmenter())
    (package.folder / "model.int8.zip").write_bytes(broken := b"PK" + bytes(100))
    entry = {"file": "model.int8.zip", "sha256": hashlib.sha256(broken).hexdigest(), "format": "openvino"}
    edited = load_package(
        write(package.folder, manifest(variants={"int8": entry}), segmenter(), {"image": images(4, 3, 32, 32)})
    )
    with open_engine(edited) as engine:
        assert engine.description.precision != "int8"
        assert any("openvino" in reason for reason in engine.description.passed_over)


def test_a_wide_tolerance_admits(tmp_path):
    package = with_variant(tmp_path / "tiny", shifted(0.1), tolerance={"dice": 0.5, "probability": 0.5})
    with open_engine(package, EngineSettings(backend="openvino")) as engine:
        assert engine.description.precision == "int8"


def test_nan_is_refused(tmp_path):
    package = with_variant(tmp_path / "tiny", breaks_below_minus_100())
    feeds = {"image": np.full((1, 3, 32, 32), -200, np.float32)}
    settings = EngineSettings(backend="openvino", precision="int8")
    with OpenVinoEngine(package, settings) as engine, OnnxRuntimeEngine(package, REFERENCE) as reference:
        with pytest.raises(NotFinite, match="output logits"):
            engine.infer(feeds)
        found = compare(engine, reference, feeds)
    assert found.problems(package.manifest.tolerance) == ("the answer holds NaN or infinity",)


def test_an_engine_that_breaks_at_work_is_replaced(tmp_path):
    package = with_variant(tmp_path / "tiny", breaks_below_minus_100())
    with open_engine(package) as engine:
        assert engine.description.precision == "int8"  # right on the reference inputs
        answer = engine.infer({"image": np.full((3, 3, 32, 32), -200, np.float32)})
        np.testing.assert_allclose(answer["logits"], -800, rtol=0.01)
        described = engine.description
    assert described.precision != "int8"
    assert any("NaN or infinity" in reason for reason in described.passed_over)


def test_when_the_last_one_breaks_the_caller_hears_it(make_package):
    package = make_package(model=breaks_below_minus_100(), reference={"image": images(2, 3, 32, 32)})
    with open_engine(package) as engine:
        for _ in range(2):
            with pytest.raises(NotFinite):
                engine.infer({"image": np.full((1, 3, 32, 32), -200, np.float32)})
        feeds = {"image": images(2, 3, 32, 32)}
        assert engine.infer(feeds)["logits"].shape == (2, 1, 32, 32)


def test_the_answer_is_remembered(plain, tmp_path):
    settings = EngineSettings(backend="openvino", precision="fp32", cache_dir=tmp_path / "cache")
    with open_engine(plain.package, settings) as engine:
        assert not engine.description.gate.cached
    records = list((tmp_path / "cache" / "gate").glob("*.json"))
    assert len(records) == 1
    assert records[0].stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    with open_engine(plain.package, settings) as engine:
        assert engine.description.gate.cached


def test_a_refusal_is_remembered(tmp_path):
    package = with_variant(tmp_path / "tiny", shifted(1))
    settings = EngineSettings(backend="openvino", precision="int8", cache_dir=tmp_path / "cache")
    for _ in range(2):
        with pytest.raises(NoEngine, match="Dice"):
            open_engine(package, settings)
    record = json.loads(next((tmp_path / "cache" / "gate").glob("*.json")).read_text())
    assert record["problems"]


def test_what_served_is_said_with_plan_and_figures_the_same_at_every_start(monkeypatch, plain, tmp_path):
    """The job's record, and so the audit, has it all in one line; whether the verdict was stored is no part of it."""
    install(monkeypatch)
    settings = EngineSettings(backend="tensorrt", precision="fp32", cache_dir=tmp_path / "cache")
    said = set()
    for _ in range(2):
        with open_engine(plain.package, settings) as engine:
            said.add(str(engine.description))
    (line,) = said
    assert line.startswith(
        "tensorrt 11.4.0.fake fp32 on Fake 0 (compute capability 9.0, CUDA 13.0), plan tiny-tensorrt-"
    )
    assert line.endswith(", gate: Dice 1.0000, largest difference 0.0000")
    with open_engine(plain.package, EngineSettings(backend="onnxruntime")) as reference:
        assert "gate" not in str(reference.description)


def test_other_reference_inputs_are_another_question(plain, tmp_path):
    settings = EngineSettings(backend="openvino", precision="fp32", cache_dir=tmp_path / "cache")
    open_engine(plain.package, settings).close()
    np.savez(plain.package.folder / "reference.npz", image=images(2, 3, 32, 32, seed=5))
    with open_engine(plain.package, settings) as engine:
        assert not engine.description.gate.cached


def test_a_damaged_record_is_asked_again(plain, tmp_path):
    settings = EngineSettings(backend="openvino", precision="fp32", cache_dir=tmp_path / "cache")
    open_engine(plain.package, settings).close()
    for content in ("{", "{}", "[]", '{"problems": [], "figures": {"dose": 1}}'):
        next((tmp_path / "cache" / "gate").glob("*.json")).write_text(content)
        with open_engine(plain.package, settings) as engine:
            assert not engine.description.gate.cached


def test_without_reference_inputs_some_are_made_up(make_package):
    package = make_package()
    feeds = reference_feeds(package)
    assert feeds["image"].shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(feeds["image"], reference_feeds(package)["image"])
    with open_engine(package, EngineSettings(backend="openvino", precision="fp32")) as engine:
        assert engine.description.gate.outliers == 0


def test_verify_reports_every_candidate(tmp_path):
    found = {(one.backend, one.precision): one for one in verify(with_variant(tmp_path / "tiny", shifted(1)))}
    assert found["onnxruntime", "fp32"].problems == ()
    assert found["openvino", "fp32"].problems == ()
    assert found["openvino", "fp32"].agreement.dice["logits/tumour"] > 0.999
    assert "Dice" in found["openvino", "int8"].problems[0]


def test_the_network_must_be_what_the_manifest_says(make_package):
    outputs = [{"name": "logits", "shape": ["batch", 1, 32, 31], "activation": "sigmoid", "classes": ["tumour"]}]
    with pytest.raises(PackageInvalid, match=r"outputs\.logits: model.yaml says .*31.*the network .*32"):
        open_engine(make_package(name="a", outputs=outputs))
    with pytest.raises(PackageInvalid, match=r"inputs: model.yaml names \['picture'\], the network has \['image'\]"):
        open_engine(make_package(name="b", inputs=[{"name": "picture", "shape": ["batch", 3, 32, 32]}]))
    with pytest.raises(PackageInvalid, match=r"inputs\.image: model.yaml says float16"):
        open_engine(
            make_package(name="c", inputs=[{"name": "image", "dtype": "float16", "shape": ["batch", 3, 32, 32]}])
        )


def test_a_network_that_does_not_parse(make_package):
    with pytest.raises(NoEngine, match="does not compile"):
        open_engine(make_package(model=b"this is no network"))


def test_weights_outside_of_the_network_are_refused(make_package, monkeypatch, tmp_path):
    """model.yaml's digest does not cover them; OpenVINO alone would fetch them from wherever the daemon was started."""
    import onnx

    (tmp_path / "weights.bin").write_bytes(np.full((1, 3, 1, 1), 4 / 3, np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    model = onnx.load_from_string(segmenter())
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    with pytest.raises(NoEngine, match="its weights lie in another file"):
        open_engine(make_package(model=model.SerializeToString()))


def test_single_sample_networks_take_any_batch(make_package):
    model = network(
        [node("Conv", "image weight", "logits")],
        {"image": [1, 3, 32, 32]},
        {"logits": [1, 1, 32, 32]},
        weight=np.full((1, 3, 1, 1), 4 / 3, np.float32),
    )
    inputs = [{"name": "image", "shape": [1, 3, 32, 32]}]
    outputs = [{"name": "logits", "shape": [1, 1, 32, 32], "activation": "sigmoid", "classes": ["tumour"]}]
    package = make_package(model=model, inputs=inputs, outputs=outputs)
    for backend in ("onnxruntime", "openvino"):
        with open_engine(package, EngineSettings(backend=backend, precision="fp32")) as engine:
            feeds = {"image": images(5, 3, 32, 32)}
            np.testing.assert_allclose(
                engine.infer(feeds)["logits"], feeds["image"].mean(1, keepdims=True) * 4, atol=1e-4
            )


def test_the_libraries_call_nobody(tmp_path):
    """Their telemetry is neither loaded nor leaves an identity in the home folder."""
    import os
    import subprocess
    import sys

    folder = plain_sample(tmp_path / "tiny").package.folder
    code = (
        "import sys; from engines.choose import open_engine; from engines.packages.package import load_package;"
        f"open_engine(load_package({str(folder)!r})).close();"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')],"
        "'onnxruntime' in sys.modules, 'openvino' in sys.modules)"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[] True True")
    assert list(home.iterdir()) == []
