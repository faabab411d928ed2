"""Whether the series of a job are whole: how many images were read of how many, and what is known to be lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dicomio.files.part10 import read_data_set
from dicomio.files.values import integer, plain_value
from pipelines.job import SeriesRead

if TYPE_CHECKING:
    from dicomio.volumes.volume import Volume
    from pipelines.job import JobDescription, UnusableImage

SHOWN = 3
"""Lost images that a sentence names one by one."""


def losses_of(job: JobDescription, series_uids: Iterable[str]) -> tuple[UnusableImage, ...]:
    """What was lost of these series, or may be of them."""
    wanted = {*series_uids, ""}
    return tuple(lost for lost in job.lost if lost.series_uid in wanted)


def series_read(job: JobDescription, volumes: Mapping[str, Volume]) -> dict[str, SeriesRead]:
    """Role to how much of its series was read."""
    found = {}
    for role, volume in volumes.items():
        uid, images = volume.series_instance_uid, len(volume.sources)
        lost = sum(one.series_uid == uid for one in job.lost)
        description = job.series[role].description if role in job.series else ""
        found[role] = SeriesRead(uid, description, images, images + lost)
    return found


def describe_read(job: JobDescription, read: Mapping[str, SeriesRead]) -> str:
    """In a sentence: "Read 30 of 30 images of FLAIR (ax flair, series 1.2.3); the study came with 120 images"."""
    parts = [
        f"{one.images} of {one.came} images of {role.upper()} "
        f"({f'{one.description}, ' if one.description else ''}series {one.series})"
        for role, one in read.items()
    ]
    study = f"; the study came with {job.study_images} images" if job.study_images else ""
    return f"Read {', '.join(parts)}{study}."


def refusal_reason(lost: Sequence[UnusableImage], volumes: Mapping[str, Volume]) -> str:
    """Why a job whose series lost images is refused, and what can be done."""
    return (
        f"{_counted(len(lost))} came and could not be used: {_listed(lost, volumes)} Send the whole series again, "
        "or let jobs run without such images (assembly.lost_images: lenient, or process --lenient)."
    )


def mention_lost(lost: Sequence[UnusableImage]) -> str:
    """A sentence on the lost images, to be added to another reason for a refusal."""
    if not lost:
        return ""
    return f" Besides: {_counted(len(lost))} of it came and could not be used: {_listed(lost, {})}"


def completeness_notes(
    job: JobDescription, lost: Sequence[UnusableImage], volumes: Mapping[str, Volume]
) -> tuple[str, ...]:
    """Notes on lost images, for whoever reads the results."""
    found = []
    if lost:
        them = "it" if len(lost) == 1 else "them"
        what = f"{_counted(len(lost))} came and could not be used, and the measurements lack {them}"
        found.append(f"{what}: {_listed(lost, volumes)}")
    others = len(job.lost) - len(lost)
    if others:
        found.append(f"{_counted(others)} of other series of the study came and could not be used.")
    return (*found, *_announced(job, volumes))


def _announced(job: JobDescription, volumes: Mapping[str, Volume]) -> list[str]:
    """Series whose headers speak of more images than came."""
    found = []
    for role, read in series_read(job, volumes).items():
        header = read_data_set(volumes[role].sources[0].path)
        announced = integer(plain_value(header, "ImagesInAcquisition")) or 0
        if announced > read.came:
            found.append(f"{role.upper()} came with {read.came} images; its headers speak of {announced}.")
    return found


def _counted(number: int) -> str:
    return f"{number} image{'s' * (number > 1)}"


def _listed(lost: Sequence[UnusableImage], volumes: Mapping[str, Volume]) -> str:
    """The first of them, each with what is wrong with it and where it would lie."""
    shown = [f"{_called(one)}{_where(one, volumes)} {one.reason.rstrip('.')}" for one in lost[:SHOWN]]
    more = f"; and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    return "; ".join(shown) + more + "."


def _called(lost: UnusableImage) -> str:
    of = f" of series {lost.series_uid}" if lost.series_uid else ""
    if lost.number:
        of = f" {lost.number}{of}"
    known = ", ".join(part for part in (lost.name, lost.sop_uid) if part)
    return f"image{of} ({known})" if known else f"an image{of}"


def _where(lost: UnusableImage, volumes: Mapping[str, Volume]) -> str:
    """Where it would lie in the volume that was read of its series: what it leaves is an edge or a gap."""
    volume = next((one for one in volumes.values() if one.series_instance_uid == lost.series_uid), None)
    if volume is None or lost.position is None or len(lost.position) != 3 or volume.source_axis is None:
        return ""
    at = float((np.linalg.inv(volume.affine) @ [*lost.position, 1.0])[volume.source_axis])
    beyond = max(-at, at - (volume.array.shape[volume.source_axis] - 1))
    if beyond > 0.5:
        return f", {beyond * volume.spacing[volume.source_axis]:.4g} mm beyond the edge of what was read,"
    return ", within what was read,"
