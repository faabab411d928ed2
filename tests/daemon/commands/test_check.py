"""`scanward check` on the fake GPU: it looks, and builds nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from daemon.commands import check as check_command
from engines.backends.tensorrt import engine as tensorrt_engine
from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.packages.package import ModelPackage, shipped_folder
from pipelines.packages import package_named
from tests.engines.backends.tensorrt.fake_gpu import fake_build, install

PACKAGE = "brain-lgg-classifier"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A GPU in this machine; the packages whose plans were built on it."""
    built: list[str] = []

    def build(package: ModelPackage, *arguments: object) -> object:
        built.append(package.name)
        return fake_build(package, *arguments)  # type: ignore[arg-type]

    install(monkeypatch)
    monkeypatch.setattr(tensorrt_engine, "build", build)
    return built


Check = Callable[[str], tuple[int, str]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanward: Callable[..., Result]) -> Check:
    """The command with this backend, of one pipeline with one network: exit code, and words without line breaks."""

    def ask(backend: str) -> tuple[int, str]:
        config = tmp_path / "scanward.yaml"
        config.write_text(f"data_dir: data\nlistener: null\nengine: {{backend: {backend}, threads: 1}}\n")
        (tmp_path / "rules.yaml").write_text("rules: []\n")
        run = scanward("check", "-c", config)
        return run.exit_code, "".join(run.stdout.split())

    monkeypatch.setattr(check_command, "PIPELINES", {"brain-mr": OneNetwork("brain-mr", {"classifier": PACKAGE})})
    return ask


class OneNetwork:
    """As much of a pipeline as the command looks at."""

    optional_models: dict[str, str] = {}  # noqa: RUF012 - nobody changes it

    def __init__(self, name: str, models: dict[str, str]) -> None:
        self.name, self.models = name, models


def test_a_plan_that_is_not_stored_is_said_and_not_built(check: Check, builds: list[str]) -> None:
    code, said = check("tensorrt")
    assert "nostoredplanfortensorrtfp16,tensorrtfp32:run`scanwardmodelsbuild`" in said
    assert builds == []
    assert "brain-mrclassifierwarning" in said
    assert code in {0, 1}  # of other lines: disk, rules


def test_it_goes_on_with_the_engine_that_would_serve_without(check: Check, builds: list[str]) -> None:
    _, said = check("auto")
    assert "`scanwardmodelsbuild`;untilthen" in said
    assert f"{PACKAGE}" in said
    assert "openvino" in said
    assert builds == []


def test_a_stored_plan_is_opened(tmp_path: Path, check: Check, builds: list[str]) -> None:
    package = package_named(PACKAGE, (shipped_folder(),))
    settings = EngineSettings(backend="tensorrt", threads=1, cache_dir=tmp_path / "data" / "plans")
    (tmp_path / "data").mkdir()
    open_engine(package, settings).close()
    assert builds == [PACKAGE, PACKAGE]  # FP16, and FP32 for what overflows
    _, said = check("tensorrt")
    assert "nostoredplan" not in said
    assert "onFake0" in said
    assert builds == [PACKAGE, PACKAGE]
