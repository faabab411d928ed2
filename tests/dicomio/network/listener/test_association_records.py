"""Records of associations are kept until they can be written."""

from __future__ import annotations

import json

from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from tests.dicomio.support.series import until
from tests.dicomio.support.wire import p_data, request, store_command, wire


def test_a_record_waits_until_there_is_room(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener:
        spool.associations_folder.rename(spool.root / "gone")
        with wire(listener.port, request()) as peer:
            peer.send(p_data(store_command(), (1, 2, b"an image")))
            assert peer.status() == 0
        until(lambda: listener.connection_counts == (0,))
        (spool.root / "gone").rename(spool.associations_folder)
    (record,) = spool.associations()
    assert len(json.loads(record.read_text())["files"]) == 1
