"""Labels are data of the model package; this turns them into what findings and the encoder use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomio.results.codes import Code
from pipelines.findings import Label

if TYPE_CHECKING:
    from engines.packages.manifest import CodedConcept
    from engines.packages.package import ModelPackage


def labels_of(package: ModelPackage) -> tuple[Label, ...]:
    """The labels of a segmentation package, by number."""
    labels = (
        Label(
            number=spec.number,
            name=spec.name,
            category=_code(spec.category),
            type=_code(spec.type),
            colour=spec.colour,
            anatomic_region=_code(spec.anatomic_region) if spec.anatomic_region else None,
        )
        for spec in package.manifest.labels
    )
    return tuple(sorted(labels, key=lambda label: label.number))


def _code(concept: CodedConcept) -> Code:
    return Code(concept.value, concept.scheme, concept.meaning)
