from __future__ import annotations

from tests.pipelines.rules.studies import because, ct, phases, scan, study


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
