"""The base of our error classes. Every folder may import this file; it imports nothing of ours.

    ScanwardError
    ├── dicomio.errors.DicomError
    ├── engines.errors.EngineError
    ├── db.errors.StoreError
    ├── pipelines.errors.PipelineError
    ├── daemon.errors.ServiceError
    └── training.errors.UnfitError

Below those, the classes branch by whose fault it is; each folder's `errors.py` draws its branch.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ScanwardError(Exception):
    """An error that carries its data and words its message from them.

    A subclass is a `@dataclass(eq=False, kw_only=True)`. Its fields are plain data, so that it can be pickled: errors
    travel from worker processes. No field that the message shows may name a patient.

    Attributes:
        message: Template of the message; braces name fields or properties of the error, as in `str.format`. What the
            fields hold is never read as a template.
    """

    message: ClassVar[str] = "Scanward failed."

    def __str__(self) -> str:
        return self.message.format_map(_Fields(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).__new__, (type(self),), vars(self)


class _Fields:
    """The fields and properties of an error, as `str.format_map` asks for them."""

    def __init__(self, error: ScanwardError) -> None:
        self._error = error

    def __getitem__(self, name: str) -> Any:
        return getattr(self._error, name)
