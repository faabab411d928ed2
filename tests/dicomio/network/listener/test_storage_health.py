"""A listener that cannot store says so."""

from __future__ import annotations

import pytest

from dicomio.errors import PeerRefused
from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from dicomio.network.scu.sender import echo
from tests.dicomio.support.series import until
from tests.dicomio.support.wire import us


def test_who_cannot_store_says_so(settings: ListenerSettings, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    with Listener(settings) as listener:
        assert listener.state.watched
        (process,) = listener.state.processes
        assert (process.pid, process.ready, process.trouble) == (listener.pids[0], True, "")
        spool.incoming_folder.rename(spool.root / "gone")
        with pytest.raises(PeerRefused, match="0x0110"):
            echo(us(listener.port))
        until(lambda: "incoming" in listener.state.processes[0].trouble)
        (spool.root / "gone").rename(spool.incoming_folder)
        echo(us(listener.port))
        until(lambda: listener.state.processes[0].trouble == "")
    assert "storing_works_again" in capsys.readouterr().out
