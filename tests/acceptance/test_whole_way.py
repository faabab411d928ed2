"""A study goes in by C-STORE, SEG and SR come out at the PACS: the real command line against real peers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from daemon.demo import send_study
from pipelines.phantoms.dicom import PhantomTruth

Phantom = tuple[Path, PhantomTruth]


def scanward(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=None)


def test_storescu_to_the_daemon_and_seg_and_sr_in_orthanc(
    make_daemon: Callable[..., Any], orthanc: Any, brain_phantom: Phantom, needs: Callable[..., str]
) -> None:
    folder, truth = brain_phantom
    daemon = make_daemon(
        destinations={"pacs": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}}
    )
    daemon.start()
    program = needs("dcmsend", package="dcmtk")  # dcmtk's storescu is hidden by pynetdicom's program of the same name
    command = [program, "-aec", "SCANWARD", "+sd", "+r", "127.0.0.1", str(daemon.port), str(folder)]
    subprocess.run(command, check=True, timeout=60)
    (row,) = daemon.settle(1)
    assert str(row.state) == "done", row
    assert "1 lesion" in row.summary

    (study,) = orthanc.get("/studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == truth.study_instance_uid
    modalities = {orthanc.get(f"/series/{series}")["MainDicomTags"]["Modality"] for series in study["Series"]}
    assert {"SEG", "SR"} <= modalities

    detail = daemon.job(row.job_id)
    assert {str(delivery.state) for delivery in detail.deliveries} == {"accepted"}
    assert [event.event for event in detail.events if event.job_id and "->" in event.event][-1] == "delivering -> done"
    (association,) = detail.associations
    assert association.files == truth.images

    # what IT sees, and that no name is in the log
    shown = scanward("jobs", "list", "-c", daemon.config, "--json")
    assert json.loads(shown.stdout)[0]["state"] == "done"
    assert "PHANTOM" not in daemon.log.read_text()


def test_the_same_study_twice_makes_no_second_job_and_late_images_supersede(
    make_daemon: Callable[..., Any], pacs: Any, brain_phantom: Phantom, tmp_path: Path
) -> None:
    folder, _ = brain_phantom
    files = sorted(folder.rglob("*.dcm"))
    flair = [p for p in files if "FLAIR" in pydicom.dcmread(p, stop_before_pixels=True).SeriesDescription.upper()]
    early, late = tmp_path / "early", tmp_path / "late"
    for part, paths in ((early, flair), (late, [p for p in files if p not in flair])):
        part.mkdir()
        for number, path in enumerate(paths):
            (part / f"{number}.dcm").write_bytes(path.read_bytes())

    daemon = make_daemon(destinations={"pacs": pacs.destination})
    daemon.start()
    send_study(daemon.peer, early, lambda share: None)
    (first,) = daemon.settle(1)
    assert str(first.state) == "done"
    sent_once = dict(pacs.stored)
    assert sent_once

    send_study(daemon.peer, early, lambda share: None)  # the same images again
    images_before = daemon.jobs()[0].study.images
    assert len(daemon.settle(1)) == 1
    assert images_before == len(flair)

    send_study(daemon.peer, late, lambda share: None)
    rows = {str(row.state): row for row in daemon.settle(2)}
    assert set(rows) == {"superseded", "done"}
    assert rows["done"].job_id != first.job_id
    assert {uid: pacs.stored[uid] for uid in sent_once} == sent_once, "something was delivered twice"
    assert set(pacs.stored.values()) == {1}


def test_a_pacs_that_is_down_gets_everything_once_it_is_back(
    make_daemon: Callable[..., Any], pacs: Any, brain_phantom: Phantom, until: Callable[..., None]
) -> None:
    pacs.stop()
    daemon = make_daemon(destinations={"pacs": pacs.destination})
    daemon.start()
    send_study(daemon.peer, brain_phantom[0], lambda share: None)
    until(lambda: any(row.deliveries and "pending" in map(str, row.deliveries) for row in daemon.jobs()), 120)
    (row,) = daemon.jobs()
    until(lambda: any(d.last_error for d in daemon.job(row.job_id).deliveries), 30)
    assert "cannot be reached" in scanward("jobs", "show", str(row.job_id), "-c", daemon.config).stdout.replace(
        "\n", " "
    )
    pacs.start()
    (row,) = daemon.settle(1)
    assert str(row.state) == "done"
    assert set(pacs.stored.values()) == {1}


@pytest.mark.slow
def test_make_demo_finds_the_lesions(tmp_path: Path) -> None:
    run = scanward("demo", "--out", tmp_path / "demo")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Found and true values" in run.stdout
    assert list((tmp_path / "demo" / "data" / "outbox").rglob("overview.png"))
