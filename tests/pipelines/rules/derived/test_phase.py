"""Contrast phases: by words in seven languages, by tags, by times; which series is preferred; what the report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.registry import pipeline_named
from pipelines.rules.builtin import BUILTIN_RULES, builtin_rules
from pipelines.rules.derived.phase import by_delay, by_words
from pipelines.rules.explain import explain
from pipelines.rules.file import load_rules, parse_rules
from pipelines.rules.model import RuleSet
from pipelines.rules.routing import Route, Unmatched, route
from pipelines.rules.study.attributes import SeriesAttributes, StudyAttributes
from pipelines.series_notes import notes_on_series
from pipelines.yaml_file import LocatedYaml
from tests.pipelines.rules.derived.test_sequence import vendor_headers
from tests.pipelines.rules.studies import ct, mr, study

ROOT = Path(__file__).resolve().parents[4]
NAMES = LocatedYaml.read(Path(__file__).with_name("phase_names.yaml")).data
ANY_PHASE = parse_rules("""
rules:
  - {name: liver, pipeline: abdomen-ct, series: {ct: {Modality: CT}}, send_to: []}
""")


def phases(whole: StudyAttributes) -> dict[str, Any]:
    return {one.series_instance_uid: whole.derived(one, "phase").value for one in whole.series}


def because(whole: StudyAttributes) -> list[str]:
    return [whole.derived(one, "phase").because for one in whole.series]


@pytest.mark.parametrize(
    ("language", "phase", "name"),
    [
        (language, phase, name)
        for language, by_phase in NAMES.items()
        for phase, names in by_phase.items()
        for name in names
    ],
)
def test_phases_by_name(language: str, phase: str, name: str) -> None:
    tags = {"Modality": "MR" if language == "mr" else "CT", "SeriesDescription": name}

    found = by_words(tags)

    assert str(found.value or "unknown") == phase, found.because


def test_the_protocol_name_speaks_where_the_description_does_not() -> None:
    assert by_words({"Modality": "CT", "SeriesDescription": "5.0 B30f", "ProtocolName": "Leber portalvenös"}).value == (
        "portal"
    )
    whole_examination = {"Modality": "CT", "Manufacturer": "GE MEDICAL SYSTEMS", "ProtocolName": "PORTAL"}
    assert by_words(whole_examination).value is None


@pytest.mark.parametrize(
    ("seconds", "phase"),
    [(-200, "native"), (5, None), (35, "arterial"), (51, None), (70, "portal"), (130, None), (180, "delayed")],
)
def test_phases_by_the_time_after_the_injection(seconds: float, phase: str | None) -> None:
    assert by_delay(seconds) == phase


def scan(number: int, time: str, description: str = "Abdomen 5.0", **tags: Any) -> SeriesAttributes:
    return ct(number, description, AcquisitionTime=time, **tags)


def test_the_start_of_the_injection_tells_all_series_of_the_study() -> None:
    given = {"ContrastBolusAgent": "Ultravist 370"}
    whole = study(
        scan(1, "120000"),
        scan(2, "120532.5", ContrastBolusStartTime="120500", **given),
        scan(3, "120610", **given),
        scan(4, "120700", **given),
        scan(5, "121000", **given),
    )

    assert list(phases(whole).values()) == ["native", "arterial", "portal", None, "delayed"]
    assert because(whole)[2] == "acquired 70 s after the injection (ContrastBolusStartTime of another series)"


def test_times_go_on_over_midnight() -> None:
    whole = study(scan(1, "000010", ContrastBolusAgent="x", ContrastBolusStartTime="235900"))

    assert list(phases(whole).values()) == ["portal"]


def test_the_bolus_tracking_tells() -> None:
    whole = study(
        scan(1, "120000"), scan(2, "120510", "Monitoring 10.0 B20f"), scan(3, "120535"), scan(4, "120612"),
    )  # fmt: skip

    assert list(phases(whole).values()) == ["native", None, "arterial", "portal"]


def test_a_series_that_names_its_phase_tells_the_others() -> None:
    whole = study(scan(1, "120000"), scan(2, "120530", "art 3.0"), scan(3, "120605"), scan(4, "121030"))

    assert list(phases(whole).values()) == ["native", "arterial", "portal", "delayed"]
    assert because(whole)[2] == "acquired 65 s after the injection (by the arterial series)"


def test_agents_and_the_distance_of_two_acquisitions_tell() -> None:
    given = {"ContrastBolusAgent": "Iomeron"}
    whole = study(scan(1, "120000"), scan(2, "120530", **given), scan(3, "120605", **given), scan(4, "121030", **given))

    assert list(phases(whole).values()) == ["native", "arterial", "portal", "delayed"]


def test_what_does_not_say_is_unknown() -> None:
    given = {"ContrastBolusAgent": "Iomeron"}

    assert list(phases(study(ct(1), ct(2, **given))).values()) == [None, None]
    assert list(phases(study(scan(1, "120000", **given))).values()) == [None]
    assert list(phases(study(scan(1, "12", **given), scan(2, "nonsense", ContrastBolusStartTime="x"))).values()) == (
        [None, None]
    )


def test_the_name_of_the_study_tells_where_contrast_was_given() -> None:
    name = "CT ABDOMEN PORTAL VENOUS"

    assert phases(study(ct(1, ContrastBolusAgent="x"), StudyDescription=name)) == {"1.1": "portal"}
    assert phases(study(ct(1), StudyDescription=name)) == {"1.1": None}
    assert phases(study(ct(1, "5.0"), StudyDescription="CT ohne KM")) == {"1.1": "native"}


def test_localizers_and_other_modalities_have_none() -> None:
    topogram = ct(1, "Topogram venous", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], slices=1)

    assert phases(study(topogram, mr(2, "t2", "T2"), ct(3, "venous", Modality="PT"))) == {
        "1.1": None,
        "1.2": None,
        "1.3": None,
    }


@pytest.mark.skipif(not vendor_headers(), reason="the shared data is not here")
def test_real_headers_name_a_phase_only_where_they_do() -> None:
    found = {}
    for number, case in enumerate(vendor_headers()):
        header = case["header"]
        whole = study(SeriesAttributes(str(number), header, images=case["images"]))
        found |= {header.get("SeriesDescription", ""): value for value in phases(whole).values() if value}

    assert found == {"STEREOTAXIS": "native", "STD BRAIN 1MM, iDose": "native", "BONE BRAIN 1MM": "native"}


def four_phases() -> StudyAttributes:
    """As a liver is examined: the late phase was acquired last, the arterial one has the finest slices."""
    return study(
        scan(1, "120000", "Abdomen nativ", BodyPartExamined="ABDOMEN"),
        scan(2, "120530", "Abdomen arteriell", BodyPartExamined="ABDOMEN", slices=200, spacing=1),
        scan(3, "120605", "Abdomen portalvenös", BodyPartExamined="ABDOMEN"),
        scan(4, "121030", "Abdomen spät", BodyPartExamined="ABDOMEN"),
    )


@pytest.mark.parametrize(
    "rules", [builtin_rules(), load_rules(ROOT / "deploy" / "rules.yaml"), builtin_rules("abdomen-ct")]
)
def test_the_portal_phase_is_read(rules: RuleSet) -> None:
    (found,) = [one for one in route_of(four_phases(), rules) if one.pipeline == "abdomen-ct"]

    assert found.roles == {"ct": "1.3"}


def route_of(whole: StudyAttributes, rules: RuleSet) -> list[Route]:
    found = route(whole, rules)
    assert not isinstance(found, Unmatched), found
    return found


@pytest.mark.parametrize(
    ("better", "worse"),
    [("portal", "5.0"), ("5.0", "spät"), ("spät", "arteriell"), ("arteriell", "nativ"), ("spät", "nativ")],
)
def test_the_order_of_phases_goes_before_more_slices(better: str, worse: str) -> None:
    whole = study(ct(1, better, slices=20), ct(2, worse, slices=200, spacing=1, ConvolutionKernel="B30f"))

    (found,) = route_of(whole, ANY_PHASE)

    assert found.roles == {"ct": "1.1"}
    assert "the network is for portal" in explain(whole, ANY_PHASE).rules[0].roles[0].because


def test_a_projection_of_the_right_phase_is_no_scan() -> None:
    whole = study(ct(1, "portal MIP"), ct(2, "arteriell"))

    assert route_of(whole, ANY_PHASE)[0].roles == {"ct": "1.2"}


def test_without_a_phase_that_the_network_knows_the_shipped_rule_says_so() -> None:
    found = route(study(ct(1, "Abdomen arteriell")), builtin_rules())

    assert isinstance(found, Unmatched)
    assert found.reasons[1] == "rule liver: role ct: no series with phase one of portal, empty; saw arterial"


def test_the_report_names_a_phase_that_the_network_does_not_know() -> None:
    pipeline = pipeline_named("abdomen-ct")

    def notes(description: str) -> tuple[str, ...]:
        return notes_on_series(study(ct(1, description)), pipeline, {"ct": "1.1"})

    assert notes("portal") == ()
    (said,) = notes("arteriell")
    assert "is of the arterial phase (SeriesDescription says 'arteriell')" in said
    assert "the network has learnt the portal phase" in said
    assert "not known" in notes("Abdomen")[0]
    assert notes_on_series(study(mr(1, "flair")), pipeline_named("brain-mr"), {"flair": "1.1"}) == ()


def test_the_built_in_rules_are_those_of_the_example() -> None:
    example = load_rules(ROOT / "deploy" / "rules.yaml")

    assert [(rule.pipeline, rule.study, dict(rule.series)) for rule in builtin_rules()] == [
        (rule.pipeline, rule.study, dict(rule.series)) for rule in example
    ]
    assert "CHEST," in BUILTIN_RULES
