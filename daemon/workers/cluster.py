"""Dask's local cluster without its web pages.

Scheduler and workers each serve pages about jobs over HTTP, to any local user and without a way to switch them off;
all that we want to know of them comes through the client, by TLS.
"""

from __future__ import annotations

from typing import Any

from distributed import LocalCluster, Nanny, Scheduler, SpecCluster, Worker


class QuietScheduler(Scheduler):  # type: ignore[misc]
    """A scheduler that opens no port for HTTP."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """It does not."""


class QuietWorker(Worker):  # type: ignore[misc]
    """A worker that opens no port for HTTP."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """It does not."""


class QuietNanny(Nanny):  # type: ignore[misc]
    """Starts such workers."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, worker_class=QuietWorker, **options)


class _WithQuietScheduler(SpecCluster):  # type: ignore[misc]
    def __init__(self, *arguments: Any, scheduler: dict[str, Any], **options: Any) -> None:
        super().__init__(*arguments, scheduler={**scheduler, "cls": QuietScheduler}, **options)


class QuietCluster(LocalCluster, _WithQuietScheduler):  # type: ignore[misc]
    """A local cluster of such a scheduler and such workers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(worker_class=QuietNanny, dashboard_address=None, **options)
