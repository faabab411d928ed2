"""The data folder of a real daemon gets another name between two runs: nothing is lost, and nothing runs again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicomio.files.digest import content_digest
from dicomio.network.scu.sender import send
from engines.plain_yaml import write_yaml
from pipelines.phantoms.dicom import write_phantom


def test_all_that_was_received_is_there_after_the_data_folder_was_renamed(
    make_daemon: Callable[..., Any], pacs: Any, tmp_path: Path, until: Callable[..., None]
) -> None:
    write_phantom("abdomen-ct", tmp_path / "dicom", slices=60, matrix=256)
    paths = sorted((tmp_path / "dicom").rglob("*.dcm"))
    daemon = make_daemon(destinations={"pacs": pacs.destination})
    daemon.start()
    send(daemon.peer, paths)
    (job,) = daemon.settle(1, timeout=400)  # its engines are built before
    assert str(job.state) == "done", job.why
    delivered = dict(pacs.stored)
    for number, name in enumerate(("renamed", "link")):
        daemon.stop()
        if name == "link":
            (daemon.folder / name).symlink_to(daemon.folder / daemon.settings["data_dir"])
        else:
            (daemon.folder / daemon.settings["data_dir"]).rename(daemon.folder / name)
        daemon.settings["data_dir"] = name
        daemon.config.write_text(write_yaml(daemon.settings))
        daemon.start()
        send(daemon.peer, paths)  # and all of it once more
        spool = daemon.folder / name / "spool"
        until(lambda at=spool: not list((at / "incoming").iterdir()), 60)
        kept = sorted(content_digest(path) for path in (spool / "studies").rglob("*.dcm"))
        assert kept == sorted(map(content_digest, paths)), number
        assert [(row.job_id, row.state) for row in daemon.settle(1, timeout=400)] == [(job.job_id, job.state)]
    assert dict(pacs.stored) == delivered
