"""Where the other sequences of a brain study lie beside the FLAIR: trusted, checked, or found by registration."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomio.errors import RegistrationFailed
from dicomio.volumes.grid import reorient
from dicomio.volumes.registration import detect_movement, register_rigid

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dicomio.volumes.grid import Reorientation
    from dicomio.volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class Alignment:
    """How sequences lie beside the FLAIR.

    Attributes:
        transforms: Role -> (4, 4) patient coordinates of the FLAIR -> those of the sequence; None where they are the
            same. A sequence that could not be aligned is not in it.
        failed: Role -> why it could not be aligned.
        notes: What was done, for the report.
    """

    transforms: Mapping[str, NDArray[np.float64] | None]
    failed: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class BrainStudy:
    """The series of a study, and how they lie beside each other.

    Attributes:
        images: Role -> volume, each on its own grid; the FLAIR is in axial orientation.
        source: The FLAIR as it came, on whose grid the masks are wanted.
        reorientation: How it was turned into axial orientation.
        alignment: Of the other roles.
    """

    images: Mapping[str, Volume]
    source: Volume
    reorientation: Reorientation
    alignment: Alignment

    @property
    def flair(self) -> Volume:
        """The FLAIR in axial orientation."""
        return self.images["flair"]

    def transform(self, role: str) -> NDArray[np.float64] | None:
        """(4, 4) patient coordinates of the FLAIR -> those of a role; None where they are the same."""
        return self.alignment.transforms.get(role)


def align_study(inputs: Mapping[str, Volume], roles: Sequence[str]) -> BrainStudy:
    """Turns the FLAIR and aligns `roles` with it."""
    flair, reorientation = reorient(inputs["flair"], "axial")
    return BrainStudy({**inputs, "flair": flair}, inputs["flair"], reorientation, align(inputs, flair, roles))


def align(inputs: Mapping[str, Volume], flair: Volume, roles: Sequence[str]) -> Alignment:
    """Finds the transforms of those `roles` that are there.

    Series of another frame of reference are registered (rigid). Those of the same one share the scanner's coordinates;
    that the patient lay still between them is checked, and mended where it is not so.
    """
    there = [role for role in roles if role in inputs]
    with ThreadPoolExecutor(max(1, len(there)), "align") as threads:  # each search has one thread only
        found = list(threads.map(lambda role: _transform_of(inputs[role], flair), there))
    transforms: dict[str, NDArray[np.float64] | None] = {}
    failed, notes = {}, []
    for role, transform in zip(there, found, strict=True):
        same = inputs[role].frame_of_reference_uid == flair.frame_of_reference_uid
        if isinstance(transform, RegistrationFailed):  # an optional series: the study can do without
            failed[role] = str(transform)
            continue
        transforms[role] = transform
        if not same:
            notes.append(f"{role.upper()} has another frame of reference and was registered to the FLAIR (rigid)")
        elif transform is not None:
            notes.append(f"The patient moved between the FLAIR and {role.upper()}, which was registered (rigid)")
    return Alignment(transforms, failed, tuple(notes))


def _transform_of(moving: Volume, flair: Volume) -> NDArray[np.float64] | RegistrationFailed | None:
    """The transform of one sequence; None where the scanner's coordinates stand, or why there is none."""
    if moving.frame_of_reference_uid == flair.frame_of_reference_uid:
        return detect_movement(moving, flair)
    try:
        return register_rigid(moving, flair)
    except RegistrationFailed as error:
        return error
