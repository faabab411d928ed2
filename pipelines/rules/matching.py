"""Compares the conditions of a role with the series of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.rules.conditions import Condition
from pipelines.rules.model import Role, Rule
from pipelines.rules.study.attributes import DERIVED, REASONED, SeriesAttributes, StudyAttributes
from pipelines.rules.study.keywords import keyword_named
from pipelines.rules.tag_values import Scalar, text

NO_IMAGES = frozenset(
    ("ANN", "AU", "DOC", "FID", "KO", "PLAN", "PR", "REG", "RTDOSE", "RTPLAN", "RTRECORD", "RTSTRUCT", "RWV", "SEG",
     "SR")
)  # fmt: skip
"""Modalities of results and documents. They take no role unless it asks for their Modality: our own results, sent back
to us by an eager PACS, must not be read as if they were the scan."""

HIDDEN = "(hidden)"
IMAGES_ONLY = Condition.model_validate({"not": {"in": sorted(NO_IMAGES)}})


@dataclass(frozen=True)
class ConditionCheck:
    """One condition, and what it found in a series or study.

    Attributes:
        key: DICOM keyword or derived attribute.
        wanted: The condition in words.
        seen: The value in words; "missing", or "unknown" for what we could not derive; hidden if identifying.
        because: Why a derived attribute has this value; '' for tags.
    """

    key: str
    wanted: str
    seen: str
    passed: bool
    because: str = ""


def fits(study: StudyAttributes, series: SeriesAttributes, role: Role) -> bool:
    """Whether all conditions of a role hold; stops at the first that does not, tags first because they are cheap."""
    if "Modality" not in role.conditions and text(series.tags, "Modality") in NO_IMAGES:
        return False
    return all(condition.holds(study.values(series, key)) for key, condition in _cheap_first(role))


def _cheap_first(role: Role) -> list[tuple[str, Condition]]:
    return sorted(role.conditions.items(), key=lambda item: item[0] in REASONED)


def failed_conditions(study: StudyAttributes, series: SeriesAttributes, role: Role) -> list[str]:
    """The conditions of a role that a series does not fulfil."""
    missed = [key for key, condition in role.conditions.items() if not condition.holds(study.values(series, key))]
    if "Modality" not in role.conditions and text(series.tags, "Modality") in NO_IMAGES:
        missed.append("Modality")
    return missed


def distance(missed: Sequence[str]) -> tuple[bool, int]:
    """How far a series is from a role, by the conditions that it fails; another modality is farther than anything."""
    return "Modality" in missed, len(missed)


def failed_study_conditions(study: StudyAttributes, rule: Rule) -> list[str]:
    """The study conditions of a rule that do not hold."""
    return [key for key, condition in rule.study.conditions.items() if not condition.holds(study.study_values(key))]


def check_series(study: StudyAttributes, series: SeriesAttributes, role: Role) -> tuple[ConditionCheck, ...]:
    """Every condition of a role with the value that it found."""
    conditions = dict(role.conditions)
    if "Modality" not in conditions and text(series.tags, "Modality") in NO_IMAGES:
        conditions["Modality"] = IMAGES_ONLY
    checks = []
    for key, condition in conditions.items():
        values = study.values(series, key)
        because = study.derived(series, key).because if key in REASONED else ""
        checks.append(ConditionCheck(key, wanted(key, condition), shown(key, values), condition.holds(values), because))
    return tuple(checks)


def check_study(study: StudyAttributes, rule: Rule) -> tuple[ConditionCheck, ...]:
    """Every study condition of a rule with the value that it found."""
    return tuple(
        ConditionCheck(key, wanted(key, condition), shown(key, values), condition.holds(values))
        for key, condition in rule.study.conditions.items()
        for values in [study.study_values(key)]
    )


def wanted(key: str, condition: Condition) -> str:
    """A condition in words; what identifies the patient is hidden."""
    if condition is IMAGES_ONLY:
        return "of images"
    return HIDDEN if is_identifying(key) else condition.words()


def is_identifying(key: str) -> bool:
    """Whether the values of a keyword identify the patient."""
    return key not in DERIVED and keyword_named(key).personal


def shown(key: str, values: tuple[Scalar, ...], most: int = 4) -> str:
    """Values in words; those that identify the patient are hidden."""
    if not values:
        return "unknown" if key in DERIVED else "missing"
    if is_identifying(key):
        return HIDDEN
    said = [_shown(value) for value in values[:most]]
    return ", ".join(said) + (f", and {len(values) - most} more" if len(values) > most else "")


def _shown(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    cleaned = "".join(character if character.isprintable() else " " for character in str(value))
    return cleaned if len(cleaned) <= 64 else cleaned[:63] + "…"
