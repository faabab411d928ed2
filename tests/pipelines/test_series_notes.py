from __future__ import annotations

from pipelines.registry import pipeline_named
from pipelines.series_notes import notes_on_series
from tests.pipelines.rules.studies import ct, mr, study


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
