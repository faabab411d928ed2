"""TLS, with certificates on both sides."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from dicomio.network.scu.sender import echo, send
from dicomio.network.tls import TLSFiles
from tests.dicomio.support.series import data_set, until, write_series
from tests.dicomio.support.wire import HERE, us


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's and a client's certificate signed by it, and a stranger's."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "stranger"):
        _certify(folder, name)
    for name in ("server", "client"):
        _certify(folder, name, "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
    return folder


def _certify(folder: Path, name: str, *options: str) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
    made = ["-x509", "-days", "2", "-subj", f"/CN={name}", "-out", f"{name}.pem", *options]
    subprocess.run(["openssl", "req", *key, *made], cwd=folder, check=True, capture_output=True)


def _files(folder: Path, name: str, ca: str = "ca") -> TLSFiles:
    return TLSFiles(certificate=folder / f"{name}.pem", key=folder / f"{name}.key", ca=folder / f"{ca}.pem")


def test_tls_with_certificates_on_both_sides(
    settings: ListenerSettings, spool: Spool, certificates: Path, tmp_path: Path
) -> None:
    sent = write_series(tmp_path / "ct", 5, size=256)
    secure = replace(settings, tls=_files(certificates, "server"), acse_timeout=2.0)
    assert ListenerSettings.from_json(secure.to_json()) == secure
    with Listener(secure) as listener:
        idle = socket.create_connection((HERE, listener.port))  # never shakes hands, and must not hold up the others
        friend = replace(us(listener.port), tls=_files(certificates, "client"))
        assert all(result.accepted for result in send(friend, sent))
        with pytest.raises((PeerRefused, PeerUnreachable)):
            echo(replace(friend, tls=TLSFiles(ca=certificates / "ca.pem")))
        with pytest.raises((PeerRefused, PeerUnreachable)):
            echo(replace(friend, tls=_files(certificates, "stranger")))
        with pytest.raises(PeerRefused, match="TLS"):
            echo(replace(friend, tls=_files(certificates, "client", ca="stranger")))
        with pytest.raises((PeerRefused, PeerUnreachable)):
            echo(us(listener.port))
        until(lambda: listener.connection_counts == (0,))
        idle.close()
    assert sorted(map(data_set, spool.incoming())) == sorted(map(data_set, sent))


def test_tls_with_dcmtk(
    settings: ListenerSettings, spool: Spool, certificates: Path, needs: Callable[..., str], tmp_path: Path
) -> None:
    sent = write_series(tmp_path / "ct", 3)
    with Listener(replace(settings, tls=_files(certificates, "server"))) as listener:
        tls = ["+tls", str(certificates / "client.key"), str(certificates / "client.pem")]
        command = [needs("storescu", package="dcmtk"), *tls, "+cf", str(certificates / "ca.pem"), "-aec", "SCANWARD"]
        subprocess.run([*command, HERE, str(listener.port), *map(str, sent)], check=True)
    assert sorted(map(data_set, spool.incoming())) == sorted(map(data_set, sent))
