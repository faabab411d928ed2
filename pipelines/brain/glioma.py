"""Brain MR: is there a tumour, and where. Four sequences are read as one volume, fewer of them slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from engines.errors import DeviceLost
from pipelines.brain.alignment import align_study
from pipelines.brain.by_slice import CLASSIFIER, QUESTION, classify_study, read_slices
from pipelines.brain.by_slice import ROLES as SLICE_ROLES
from pipelines.brain.by_volume import ROLES as VOLUME_ROLES
from pipelines.brain.by_volume import SEGMENTER as VOLUME_SEGMENTER
from pipelines.brain.by_volume import read_volume
from pipelines.errors import BrainNotFound
from pipelines.networks import no_progress

if TYPE_CHECKING:
    from dicomio.volumes.volume import Volume
    from pipelines.brain.alignment import Alignment
    from pipelines.findings import Classification, Findings
    from pipelines.networks import Network, Progress

DISAGREEMENT = {
    True: "The classifier suspects a tumour, the segmentation outlines none: please look at the images",
    False: "The classifier sees no tumour, the segmentation outlines one: please look at the images",
}
"""Notes for the reader, by what the classifier says."""


def run(inputs: Mapping[str, Volume], networks: Mapping[str, Network], report: Progress) -> Findings:
    """Finds tumours. Which way a study was read, and why, is the first of the findings' notes.

    Args:
        inputs: `flair`, and optionally `t1`, `t1ce` and `t2`; any orientation, any grid.
        networks: `classifier` and `segmenter` (by slice), and optionally `volume_segmenter` (all four sequences). The
            classifier answers either way.
        report: Called with each step and its progress.
    """
    report("align", 0.0)
    reason = _missing_for_volume(inputs, networks)
    study = align_study(inputs, SLICE_ROLES if reason else VOLUME_ROLES)
    reason = reason or _unaligned(study.alignment)
    if reason is None:
        try:
            with _in_background(partial(classify_study, study, networks[CLASSIFIER], no_progress)) as answer:
                found = _with_classification(read_volume(study, networks, report), answer(), networks[CLASSIFIER])
            return _with_notes(found, "Read as one volume: FLAIR, T1, T1CE and T2 are all there", study.alignment)
        except BrainNotFound as error:
            reason = str(error)  # rare; the classifier is then asked a second time, with what the slices' way prepares
    found = read_slices(study, networks, report)
    return _with_notes(found, f"Read slice by slice: {reason}", study.alignment)


@contextmanager
def _in_background(ask: Callable[[], Classification]) -> Iterator[Callable[[], Classification]]:
    """Asks in a thread of its own, and gives what waits for the answer: the search for a brain leaves a core idle.

    Where both fail, a lost device is what is raised: only that replaces the worker, and the job is tried again.
    """
    with ThreadPoolExecutor(1, "classifier") as thread:
        answer = thread.submit(copy_context().run, ask)  # logs name the job
        try:
            yield partial(_awaited, answer)
        except Exception:
            if isinstance(lost := answer.exception(), DeviceLost):
                raise lost from None
            raise


def _awaited(answer: Future[Classification]) -> Classification:
    return answer.result()


def _with_classification(findings: Findings, answer: Classification, network: Network) -> Findings:
    """Adds the answer of the slices' classifier: the volume's network outlines, it was never asked yes or no."""
    package = network.package
    notes = findings.notes
    if answer.positive != bool(findings.lesions):
        notes = (*notes, DISAGREEMENT[answer.positive])
    return replace(
        findings,
        classifications=(answer,),
        question=QUESTION,
        models={**findings.models, package.name: package.digest},
        engines={**findings.engines, package.name: str(network.engine.description)},
        used={**findings.used, CLASSIFIER: package.name},
        notes=notes,
    )


def _missing_for_volume(inputs: Mapping[str, Volume], networks: Mapping[str, Network]) -> str | None:
    """What the volume's network cannot do without, and is not there."""
    missing = [role.upper() for role in VOLUME_ROLES if role not in inputs]
    if missing:
        return f"{_listed(missing)} {'was' if len(missing) == 1 else 'were'} not available"
    if VOLUME_SEGMENTER not in networks:
        return "no network for four sequences is installed"
    return None


def _unaligned(alignment: Alignment) -> str | None:
    if not alignment.failed:
        return None
    return f"{_listed([role.upper() for role in alignment.failed])} could not be aligned with the FLAIR"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _with_notes(findings: Findings, way: str, alignment: Alignment) -> Findings:
    return replace(findings, notes=(way, *alignment.notes, *findings.notes))
