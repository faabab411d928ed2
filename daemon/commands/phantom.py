from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.commands.options import console
from pipelines.phantoms.dicom import write_phantom


class PhantomKind(StrEnum):
    """The phantoms there are."""

    BRAIN_MR = "brain-mr"
    ABDOMEN_CT = "abdomen-ct"


def phantom(
    kind: Annotated[PhantomKind, typer.Argument(help="What to make.")],
    out: Annotated[Path, typer.Argument(help="Folder for the DICOM files; the truth goes to `truth/` beside it.")],
    slices: Annotated[int | None, typer.Option(min=3, help="Number of slices.")] = None,
    matrix: Annotated[int | None, typer.Option(min=64, help="Rows and columns.")] = None,
    slice_mm: Annotated[float | None, typer.Option(min=0.1, help="Distance of slices, mm.")] = None,
    pixel_mm: Annotated[float | None, typer.Option(min=0.1, help="Pixel spacing, mm.")] = None,
    lesions: Annotated[int | None, typer.Option(min=0, help="Number of lesions.")] = None,
    lesion_mm: Annotated[list[float] | None, typer.Option("--lesion-mm", help="Diameter of a lesion; repeat.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed and options give the same study.")] = 1,
) -> None:
    """Write a DICOM study with a known truth."""
    given = {
        "slices": slices,
        "matrix": matrix,
        "slice_mm": slice_mm,
        "pixel_mm": pixel_mm,
        "lesions": lesions,
        "lesion_diameters_mm": tuple(lesion_mm) if lesion_mm else None,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with console.status(f"Making {kind.value} ..."):
        truth = write_phantom(kind.value, out, seed=seed, **options)
    console.print(f"{truth.images} images in {out}, study {truth.study_instance_uid}")
    volumes = ", ".join(f"{ml:.1f}" for ml in truth.lesion_volumes_ml)
    console.print(f"True lesions: {len(truth.lesion_volumes_ml)}" + (f" ({volumes} ml)" if volumes else ""))
