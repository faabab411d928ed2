"""Procedural phantoms with a known truth, by kind; `shapes` holds what they are built from."""

from __future__ import annotations

from typing import Literal

from pipelines.phantoms.abdomen import AbdomenPhantom
from pipelines.phantoms.brain import BrainPhantom
from pipelines.phantoms.glioma import GliomaPhantom
from pipelines.phantoms.shapes import Phantom, PhantomOptions, PhantomPlane

__all__ = [
    "PHANTOMS",
    "AbdomenPhantom",
    "BrainPhantom",
    "GliomaPhantom",
    "Kind",
    "Phantom",
    "PhantomOptions",
    "PhantomPlane",
    "make_phantom",
]

Kind = Literal["brain-mr", "abdomen-ct"]
PHANTOMS: dict[str, type[Phantom]] = {kind.kind: kind for kind in (BrainPhantom, AbdomenPhantom)}


def make_phantom(kind: str, options: PhantomOptions) -> Phantom:
    """The phantom of that kind.

    Raises:
        ValueError: Unknown kind.
    """
    if kind not in PHANTOMS:
        raise ValueError(f"expected one of {sorted(PHANTOMS)}, received {kind!r}")
    if options.glioma and kind == GliomaPhantom.kind:
        return GliomaPhantom(options)
    return PHANTOMS[kind](options)
