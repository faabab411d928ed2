"""Whatever scanners write, routing answers."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.rules.explain import explain
from pipelines.rules.file import parse_rules
from pipelines.rules.routing import Unmatched, route
from pipelines.rules.study.attributes import SeriesAttributes, StudyAttributes

RULES = parse_rules("""
rules:
- name: everything that can be asked
  pipeline: p
  study: {StudyDescription: {not: {matches: x}}, images: {min: 1}}
  series:
    a: {plane: axial, sequence: flair, contrast: {in: [true, ""]}, localizer: false, images: {min: 2}}
    b: {Modality: {in: [MR, ""]}, SliceThickness: {max: 5}, SeriesDescription: {matches: "(?i)t1"}, optional: true}
  send_to: []
- name: anything
  pipeline: q
  series: {a: {SeriesInstanceUID: {exists: false}}, b: {Rows: {exists: false}, optional: true}}
  send_to: []
""")
KEYWORDS = (
    "Modality SeriesDescription ProtocolName StudyDescription SequenceName ScanningSequence SequenceVariant ImageType "
    "ScanOptions ImageOrientationPatient ImagePositionPatient PixelSpacing SliceThickness RepetitionTime EchoTime "
    "InversionTime FlipAngle EchoTrainLength MRAcquisitionType ContrastBolusAgent ContrastBolusVolume SeriesNumber "
    "AcquisitionTime DiffusionBValue ConvolutionKernel Manufacturer PatientOrientation AcquisitionContrast"
)
one = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10**6),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["MR", "CT", "SE\\IR", "T1 +C", "FLAIR", "LOCALIZER", "1e999", "-0", "0.5"]),
)
tags = st.dictionaries(st.sampled_from(KEYWORDS.split()), st.one_of(one, st.lists(one, max_size=7)), max_size=12)
series = st.builds(
    SeriesAttributes,
    st.sampled_from([f"1.{number}" for number in range(50)]),
    tags,
    st.lists(tags, max_size=4).map(tuple),
    st.integers(0, 300),
    st.text(max_size=5),
)
studies = st.builds(
    StudyAttributes,
    st.just("1"),
    tags,
    st.lists(series, max_size=5, unique_by=lambda one: one.series_instance_uid).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(studies)
def test_routing_and_explaining_never_fail_and_agree(study: StudyAttributes) -> None:
    found = route(study, RULES)
    explained = explain(study, RULES)

    json.dumps(explained.to_dict())
    if isinstance(found, Unmatched):
        assert explained.takers == ()
        assert all(reason.isprintable() for reason in found.reasons)
    else:
        assert [(item.rule, sorted(item.roles.values())) for item in found] == [
            (item.rule, sorted(role.taken_by for role in item.roles if role.taken_by)) for item in explained.takers
        ]
