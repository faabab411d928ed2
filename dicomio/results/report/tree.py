"""Builds the content tree of a report (PS3.16, TID 1500)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset

from dicomio.results.attributes import MANUFACTURER, Algorithm, concept
from dicomio.results.codes import (
    ABSENT,
    COMMENT,
    IMAGING_PROCEDURE,
    MODALITIES,
    PERCENT,
    PRESENCE,
    PRESENT,
    PROBABILITY,
    PROCEDURES,
    SUMMARY,
    Code,
)
from dicomio.results.report.content import (
    AbsentFinding,
    ClassificationFinding,
    Conclusion,
    Evaluation,
    Measured,
    MeasurementGroup,
    ReportContent,
    SourceSeries,
    StudyGroup,
)
from dicomio.results.valid_values import valid_text, valid_uid

_CONTAINS = RelationshipTypeValues.CONTAINS
_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT
_DEVICE = CodedConcept("121007", "DCM", "Device")
_LIBRARY = CodedConcept("111028", "DCM", "Image Library")
_LIBRARY_GROUP = CodedConcept("126200", "DCM", "Image Library Group")
_MODALITY = CodedConcept("121139", "DCM", "Modality")
_FRAME_OF_REFERENCE = CodedConcept("112227", "DCM", "Frame of Reference UID")
_SOURCE = CodedConcept("260753009", "SCT", "Source")
_EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")


def report_tree(
    content: ReportContent,
    sources: Sequence[SourceSeries],
    segmentation: Dataset | None,
    device_uid: str,
    statement: str,
) -> MeasurementReport:
    """Builds the tree: observer, procedure, one group per segment and per statement, text."""
    procedure = content.procedure or PROCEDURES.get(sources[0].modality, IMAGING_PROCEDURE)
    groups = [_segment_group(group, segmentation, sources[0]) for group in content.groups if segmentation is not None]
    tree = MeasurementReport(
        observation_context=_observer(device_uid),
        procedure_reported=concept(procedure),
        imaging_measurements=[*groups, *(_study_group(group) for group in content.study_groups)],
    )
    tree[0].ContentSequence.append(_texts(content, statement))
    return tree


def insert_image_library(report: Dataset, sources: Sequence[SourceSeries]) -> None:
    """Inserts the image library before the measurements, as TID 1500 requires."""
    items = list(report.ContentSequence)
    report.ContentSequence = [*items[:-2], _image_library(sources), *items[-2:]]


def _observer(device_uid: str) -> ObservationContext:
    """TID 1001: the observer is a device."""
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid, name=MANUFACTURER, manufacturer_name=MANUFACTURER, model_name=MANUFACTURER
    )
    return ObservationContext(observer_device_context=ObserverContext(_DEVICE, device))


def _image_library(sources: Iterable[SourceSeries]) -> Dataset:
    """TID 1600: the images that were analysed, one group per series.

    Plain data sets, put into the finished document: as highdicom's content items the references to a series of 300
    images took half a second.
    """
    return _item("CONTAINER", _LIBRARY, _CONTAINS, ContentSequence=[_library_group(series) for series in sources])


def _library_group(series: SourceSeries) -> Dataset:
    items = []
    if series.modality in MODALITIES:
        modality = concept(MODALITIES[series.modality])
        items.append(_item("CODE", _MODALITY, _CONTEXT, ConceptCodeSequence=[modality]))
    if series.frame_of_reference_uid:
        items.append(_item("UIDREF", _FRAME_OF_REFERENCE, _CONTEXT, UID=valid_uid(series.frame_of_reference_uid)))
    images: dict[tuple[str, str], list[int]] = {}
    for image in series.images:
        frames = images.setdefault((image.sop_class_uid, image.sop_instance_uid), [])
        frames += [] if image.frame is None else [image.frame]
    common = {element.tag: element for element in _item("IMAGE", _SOURCE, _CONTAINS)}
    for (sop_class, sop_instance), frames in images.items():
        reference = Dataset()
        reference.ReferencedSOPClassUID = valid_uid(sop_class)
        reference.ReferencedSOPInstanceUID = valid_uid(sop_instance)
        if frames:
            reference.ReferencedFrameNumber = sorted(frames)
        items.append(Dataset(dict(common)))  # hundreds of items that differ in their reference only
        items[-1].ReferencedSOPSequence = [reference]
    return _item("CONTAINER", _LIBRARY_GROUP, _CONTAINS, ContentSequence=items)


def _item(value_type: str, name: CodedConcept, relation: RelationshipTypeValues, **value: Any) -> Dataset:
    """A content item (PS3.3 C.17.3)."""
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = relation.value, value_type, [name]
    if value_type == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for keyword, content in value.items():
        setattr(item, keyword, content)
    return item


def _segment_group(
    group: MeasurementGroup, segmentation: Dataset, series: SourceSeries
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """TID 1411: one lesion or organ."""
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=group.segment_number,
            source_series=SourceSeriesForSegmentation(valid_uid(series.series_instance_uid)),
        ),
        tracking_identifier=TrackingIdentifier(group.tracking_uid, group.tracking_id),
        finding_category=None if group.category is None else concept(group.category),
        finding_type=concept(group.finding),
        finding_sites=_sites(group.site),
        algorithm_id=_algorithm(group.algorithm),
        measurements=_measurements(group.measurements),
        qualitative_evaluations=_evaluations(group.evaluations),
    )


def _study_group(group: StudyGroup) -> MeasurementsAndQualitativeEvaluations:
    """TID 1501: something about the study as a whole."""
    measurements, answer = _statement(group)
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(group.tracking_uid, group.tracking_id),
        finding_type=concept(group.finding),
        finding_sites=_sites(group.site),
        algorithm_id=_algorithm(group.algorithm),
        measurements=_measurements(measurements),
        qualitative_evaluations=[QualitativeEvaluation(concept(PRESENCE), concept(answer))] if answer else None,
    )


def _statement(group: StudyGroup) -> tuple[Sequence[Measured], Code | None]:
    """The measurements of a study group, and whether its finding is present."""
    if isinstance(group, ClassificationFinding):
        answer = None if group.present is None else PRESENT if group.present else ABSENT
        return (Measured(PROBABILITY, 100 * group.probability, PERCENT),), answer
    if isinstance(group, Conclusion):
        return (), group.presence
    if isinstance(group, AbsentFinding):
        return (), ABSENT
    return group.measurements, None


def _sites(site: Code | None) -> list[FindingSite] | None:
    return None if site is None else [FindingSite(concept(site))]


def _algorithm(algorithm: Algorithm) -> AlgorithmIdentification:
    """TID 4019."""
    return AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        parameters=list(algorithm.parameters) or None,
        family=concept(algorithm.family),
        manufacturer=None,
    )


def _measurements(measured: Iterable[Measured]) -> list[Measurement] | None:
    return [
        Measurement(
            name=concept(item.name),
            value=_rounded(item.value),
            unit=concept(item.unit),
            derivation=None if item.derivation is None else concept(item.derivation),
        )
        for item in measured
    ] or None


def _rounded(value: float) -> int | float:
    """Six significant digits; whole numbers as such, so that it says 3 lesions and not 3.0."""
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded.is_integer() else rounded


def _evaluations(evaluations: Iterable[Evaluation]) -> list[QualitativeEvaluation] | None:
    return [QualitativeEvaluation(concept(item.name), concept(item.value)) for item in evaluations] or None


def _texts(content: ReportContent, statement: str) -> ContainerContentItem:
    """What a person reads first: the summary, the notes, and that this is research."""
    texts = [(SUMMARY, content.summary), *((COMMENT, note) for note in content.notes), (COMMENT, statement)]
    container = ContainerContentItem(_EVALUATIONS, relationship_type=_CONTAINS)
    items = [TextContentItem(concept(name), valid_text(text), _CONTAINS) for name, text in texts]
    container.ContentSequence = ContentSequence(items)
    return container
