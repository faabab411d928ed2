"""A PostgreSQL server of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psycopg


class Cluster:
    """A PostgreSQL server of our own, on a Unix socket in a temporary folder; it refuses to run as root."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder, self._made = binaries, folder, 0
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off -c timezone=Asia/Kolkata -c max_connections=60"
        self._run("pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", settings, "-w", "start")

    def _run(self, program: str, *arguments: str) -> None:
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_postgres, str(self._binaries / program), *arguments]
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL)

    def new_database(self) -> str:
        """Creates a database without tables and returns its URL."""
        self._made += 1
        with psycopg.connect(host=str(self._folder), user="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE test{self._made}".encode())
        return f"postgresql+psycopg://postgres@/test{self._made}?host={self._folder}"

    def stop(self) -> None:
        """Ends the server without ado; its folder goes with it."""
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")


def binaries() -> Path | None:
    """The folder of the server's programs, None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "/nowhere")]
    return found[-1].parent if found[-1].exists() else None
