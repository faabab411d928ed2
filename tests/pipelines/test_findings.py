"""One answer for a study: what outlines and classifier agree on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomio.results.codes import Code
from dicomio.volumes.volume import Volume
from pipelines.findings import Answer, Classification, Findings, Label, Region
from pipelines.results.summary import headline, summary_line

CODE = Code("1", "99TEST", "x")
LESION = Region(Label(1, "tumour", CODE, CODE, (255, 0, 0)), "Lesion 1", 1.5, (0.0, 0.0, 0.0), (0, 0, 0), component=1)


def findings(*, lesion: bool, positive: bool | None, inconclusive: str = "") -> Findings:
    array = np.zeros((3, 4, 4), np.uint8)
    answers = () if positive is None else (Classification("Brain tumour on FLAIR", "", 0.94, 0.5, positive),)
    return Findings(
        volume=Volume(array, np.eye(4), "1.2", "MR", "1.2.3", (), None),
        segmentation=array,
        components=array.astype(np.uint16),
        labels=(),
        regions=(LESION,) if lesion else (),
        classifications=answers,
        question="Brain tumour",
        inconclusive=inconclusive,
    )


@pytest.mark.parametrize(
    ("lesion", "positive", "answer"),
    [
        (True, True, Answer.TUMOUR),
        (False, False, Answer.NO_TUMOUR),
        (False, True, Answer.UNCLEAR),
        (True, False, Answer.UNCLEAR),
        (True, None, Answer.TUMOUR),
        (False, None, Answer.NO_TUMOUR),
    ],
)
def test_outlines_and_classifier_have_to_agree(lesion: bool, positive: bool | None, answer: Answer) -> None:
    found = findings(lesion=lesion, positive=positive)
    assert found.answer is answer
    assert headline(found).startswith(f"Brain tumour: {answer}")
    assert summary_line(found).startswith(headline(found) + "; ")


def test_where_there_was_nothing_to_look_at_nothing_is_ruled_out() -> None:
    missing = findings(lesion=False, positive=None, inconclusive="No liver was found in this series")
    assert missing.answer is Answer.UNCLEAR
    assert replace(missing, inconclusive="").answer is Answer.NO_TUMOUR
    assert summary_line(missing) == "Brain tumour: unclear: look; nothing outlined"
