"""Findings in one line, for the report and for lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.findings import Answer

if TYPE_CHECKING:
    from pipelines.findings import Findings


def headline(findings: Findings) -> str:
    """The answer for the study as a whole, and how sure the classifier was of a tumour, if one was asked."""
    probabilities = [f"probability {answer.probability:.2f}" for answer in findings.classifications]
    return f"{findings.question}: {findings.answer}" + (f" ({', '.join(probabilities)})" if probabilities else "")


def summary_line(findings: Findings) -> str:
    """The findings in one line, for the report and for lists."""
    parts = [headline(findings)]
    lesions = findings.lesions
    if lesions:
        volume = sum(lesion.volume_ml for lesion in lesions)
        largest = max((lesion.diameters.axial_mm for lesion in lesions if lesion.diameters), default=0.0)
        parts.append(
            f"{len(lesions)} lesion{'s' * (len(lesions) > 1)}, {volume:.1f} mL, largest axial {largest:.0f} mm"
        )
    else:
        parts.append("nothing outlined" if findings.answer is Answer.UNCLEAR else "no lesion found")
    if "Liver volume" in findings.totals:
        parts.append(f"liver {findings.totals['Liver volume'][0]:.0f} mL")
    if lesions and "Tumour core volume" in findings.totals:
        core, enhancing = (findings.totals[f"{name} volume"][0] for name in ("Tumour core", "Enhancing"))
        parts.append(f"core {core:.1f} mL, enhancing {enhancing:.1f} mL")
    if "Tumour burden" in findings.totals:
        parts.append(f"tumour burden {findings.totals['Tumour burden'][0]:.1f} %")
    return "; ".join(parts)
