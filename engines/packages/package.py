"""Model packages: a folder with `model.onnx`, `model.yaml` and `MODEL_CARD.md`, checked whole before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError
from ruamel.yaml.error import YAMLError

from engines.errors import DigestMismatch, PackageError, PackageInvalid, PackageMissing
from engines.packages.manifest import CalibrationFile, Manifest, Variant, shape_fits
from engines.plain_yaml import read_yaml

if TYPE_CHECKING:
    import numpy as np

log = structlog.get_logger(__name__)

MANIFEST = "model.yaml"
NETWORK = "model.onnx"
CARD = "MODEL_CARD.md"


class ModelPackage:
    """A checked package. Reading the weights is left to whoever needs them; plain data, may be pickled.

    Attributes:
        folder: Where it lies.
        manifest: The content of model.yaml.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"ModelPackage({self.name} {self.version}, {self.digest[:12]})"

    @property
    def name(self) -> str:
        """Name, unique among the packages of an installation."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Version of the weights."""
        return self.manifest.version

    @property
    def digest(self) -> str:
        """sha256 of model.onnx, hexadecimal: what results record as the model that made them."""
        return self.manifest.sha256

    @cached_property
    def card(self) -> str:
        """Text of MODEL_CARD.md."""
        return (self.folder / CARD).read_text(encoding="utf-8")

    def network(self, precision: str = "fp32") -> bytes:
        """The network's bytes, ONNX but for `Variant.format`; digest checked at every reading.

        Engines compile what was checked, never a path.

        Args:
            precision: "fp32" is model.onnx; others come from `variants`.

        Raises:
            DigestMismatch: The file changed since the package was loaded.
            PackageInvalid: The package has no such variant.
        """
        if precision == "fp32":
            return _checked(self.folder / NETWORK, self.manifest.sha256, "sha256")
        variant = self._brought(precision)
        return _checked(self.folder / variant.file, variant.sha256, f"variants.{precision}.sha256")

    def network_digest(self, precision: str = "fp32") -> str:
        """sha256 of the network's file for a precision, as model.yaml states it.

        Raises:
            PackageInvalid: The package has no such variant.
        """
        if precision == "fp32":
            return self.manifest.sha256
        return self._brought(precision).sha256

    def reference(self) -> dict[str, np.ndarray] | None:
        """Arrays of the reference inputs by input name, or None when the package brings none."""
        import numpy as np

        if self.manifest.reference_inputs is None:
            return None
        with np.load(self.folder / self.manifest.reference_inputs, allow_pickle=False) as stored:
            return {spec.name: stored[spec.name] for spec in self.manifest.inputs}

    def largest(self) -> dict[str, float]:
        """Of the network's tensors, by name, the largest absolute value that eight bits must reach.

        Raises:
            DigestMismatch: The file changed since the package was loaded.
            PackageInvalid: The package has none, or it is of another network, or not what it should be.
        """
        stated = self.manifest.calibration
        if stated is None:
            raise PackageInvalid(file=self.folder / MANIFEST, key="calibration", problem="the package brings none")
        file = self.folder / stated.file
        try:
            read = CalibrationFile.model_validate_json(_checked(file, stated.sha256, "calibration.sha256"))
        except ValidationError as error:
            raise _invalid(file, error) from error
        if read.network != self.digest:
            raise PackageInvalid(
                file=file, key="network", problem=f"it is of the network {read.network[:12]}, not {self.digest[:12]}"
            )
        return read.largest

    def variant(self, precision: str) -> Variant | None:
        """The network for a precision; None where the package brings none."""
        return {str(name): one for name, one in self.manifest.variants.items()}.get(precision)

    def _brought(self, precision: str) -> Variant:
        variant = self.variant(precision)
        if variant is None:
            raise PackageInvalid(file=self.folder / MANIFEST, key="variants", problem=f"no {precision} variant")
        return variant


def load_package(folder: Path | str) -> ModelPackage:
    """Reads and checks a package: manifest, network digests, model card, calibration, reference inputs.

    Raises:
        PackageMissing: No folder, or no model.yaml in it.
        PackageInvalid: A key or a file is wrong; names both.
        DigestMismatch: A network is not the one that model.yaml describes.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    _require(folder, CARD, "MODEL_CARD.md", "a package needs a model card")
    _require(folder, NETWORK, "model.onnx", "a package needs its network")
    package = ModelPackage(folder, manifest)
    package.network()
    for precision, variant in manifest.variants.items():
        _require(folder, variant.file, f"variants.{precision}.file", "file does not exist")
        package.network(precision)
    if manifest.calibration is not None:
        _require(folder, manifest.calibration.file, "calibration.file", "file does not exist")
        package.largest()
    if manifest.reference_inputs is not None:
        _require(folder, manifest.reference_inputs, "reference_inputs", "file does not exist")
        _check_reference(package, folder / manifest.reference_inputs)
    return package


def find_packages(
    *folders: Path | str, on_error: Callable[[PackageError], None] | None = None
) -> dict[str, ModelPackage]:
    """All packages directly below the folders, by name; a later folder's package replaces an earlier one's.

    Args:
        folders: `shipped_folder()`, then the hospital's own. One that does not exist holds nothing.
        on_error: Called with a broken package's error; without it the error is raised.

    Raises:
        PackageError: A package is broken (unless `on_error`), or two in one folder share a name.
    """
    found: dict[str, ModelPackage] = {}
    for folder in map(Path, folders):
        here: dict[str, ModelPackage] = {}
        for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
            try:
                package = load_package(manifest.parent)
                _claim(here, package)
            except PackageError as error:
                if on_error is None:
                    raise
                on_error(error)
        for name in found.keys() & here.keys():
            log.info("package_replaced", package=name, by=str(here[name].folder), instead_of=str(found[name].folder))
        found |= here
    return found


def shipped_folder() -> Path:
    """The packages that come with Scanward."""
    return Path(__file__).resolve().parents[2] / "models"


def _claim(here: dict[str, ModelPackage], package: ModelPackage) -> None:
    if package.name in here:
        other = here[package.name].folder.name
        raise PackageInvalid(
            file=package.folder / MANIFEST, key="name", problem=f"{package.name} is also the name of {other}"
        )
    here[package.name] = package


def _read_manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST
    try:
        content = read_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "no model.yaml" if folder.is_dir() else "no such folder"
        raise PackageMissing(path=folder, problem=problem) from None
    except (YAMLError, ValueError) as error:
        raise PackageInvalid(file=file, key=_yaml_place(error), problem="not valid YAML") from error
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise _invalid(file, error) from error


def _invalid(file: Path, error: ValidationError) -> PackageInvalid:
    first = error.errors()[0]
    key = ".".join(_written(first["loc"])) or "(whole file)"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return PackageInvalid(file=file, key=key, problem=first["msg"].removeprefix("Value error, ") + more)


def _written(place: tuple[int | str, ...]) -> list[str]:
    """The keys as the author wrote them: pydantic adds the type that it tried last ("int", "constrained-int")."""
    return [str(part) for part in place if part not in {"int", "str"} and "constrained" not in str(part)]


def _yaml_place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}" if mark else "(whole file)"


def _require(folder: Path, name: str, key: str, problem: str) -> None:
    path = folder / name
    if path.resolve().parent != folder.resolve():
        raise PackageInvalid(file=folder / MANIFEST, key=key, problem=f"{name} must lie in the package's own folder")
    if not path.is_file():
        raise PackageInvalid(file=folder / MANIFEST, key=key, problem=f"{problem} ({name} is missing)")


def _checked(file: Path, stated: str, key: str) -> bytes:
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != stated:
        raise DigestMismatch(file=file, key=key, stated=stated, found=found)
    return content


def _check_reference(package: ModelPackage, file: Path) -> None:
    try:
        arrays = package.reference() or {}
    except (KeyError, ValueError, OSError, RuntimeError) as error:  # RuntimeError: a Python without LZMA
        raise PackageInvalid(file=file, key="reference_inputs", problem=f"not one array per input ({error})") from error
    for spec in package.manifest.inputs:
        array = arrays[spec.name]
        if array.dtype != spec.dtype or not shape_fits(array.shape, spec.shape) or len(array) == 0:
            received = f"{array.dtype} {array.shape}"
            raise PackageInvalid(
                file=file, key=spec.name, problem=f"expected {spec.dtype} {spec.shape}, received {received}"
            )
