"""Notes on the series that a job reads, for the report and `scanward jobs show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.rules.derived.kinds import Phase
    from pipelines.rules.study.attributes import StudyAttributes
    from pipelines.specifications import Pipeline


def notes_on_series(study: StudyAttributes, pipeline: Pipeline, roles: Mapping[str, str]) -> tuple[str, ...]:
    """Notes on the series that take the roles (role -> Series Instance UID) of a pipeline."""
    if pipeline.phase is None:
        return ()
    return tuple(_phases(study, pipeline.phase, roles))


def _phases(study: StudyAttributes, known: Phase, roles: Mapping[str, str]) -> Iterator[str]:
    """Whose contrast phase is not the one that the networks learnt from."""
    by_uid = {series.series_instance_uid: series for series in study.series}
    for role, uid in roles.items():
        if uid not in by_uid:
            continue
        phase = study.derived(by_uid[uid], "phase")
        if phase.value is None:
            yield f"The contrast phase of the {role.upper()} is not known; the network has learnt the {known} phase"
        elif phase.value is not known:
            yield (
                f"The {role.upper()} is of the {phase.value} phase ({phase.because}); the network has learnt the "
                f"{known} phase, so the outlines may be wrong"
            )
