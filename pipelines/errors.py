"""What can go wrong in rules and pipelines, by whose fault it is.

    PipelineError
    ├── RulesInvalid            the rule file is wrong: hospital IT must change it
    ├── UnknownPipeline         somebody asked for a pipeline that there is not
    ├── ModelMissing            somebody must install a model package
    ├── BrainNotFound           the images do not show a brain as a whole; what reads slice by slice may still
    └── ModelsDiffer            the packages were replaced, or another machine has other ones

A study that no rule takes is not an error: `route` answers `Unmatched`. A series that is no regular volume is
`dicomio.errors.GeometryRefused`.
"""

# ruff: noqa: N818 - the name says what happened and whose fault it is; that it is an error, the tree says

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from scanward_errors import ScanwardError


class PipelineError(ScanwardError):
    """A rule or a pipeline failed."""

    message: ClassVar[str] = "A rule or a pipeline failed."


@dataclass(frozen=True)
class RuleProblem:
    """One thing that is wrong in a rule file.

    Attributes:
        line: Line of the key, from 1.
        column: Column of the key, from 1.
        key: Where it stands, such as `rules.glioma.series.flair.plane`; '' for the file as a whole.
        message: What is wrong and what to do about it.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.key + ': ' if self.key else ''}{self.message}"


@dataclass(eq=False, kw_only=True)
class RulesInvalid(PipelineError):
    """A rule file is wrong.

    Attributes:
        path: The rule file.
        problems: Everything that is wrong with it, in the order of the file.
    """

    message: ClassVar[str] = "{lines}"

    path: Path
    problems: tuple[RuleProblem, ...]

    @property
    def lines(self) -> str:
        """The problems, one below the other."""
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(eq=False, kw_only=True)
class UnknownPipeline(PipelineError):
    """There is no pipeline of that name.

    Attributes:
        name: What was asked for.
        known: Names of the pipelines that there are.
    """

    message: ClassVar[str] = "There is no pipeline {name!r}; there are: {names}."

    name: str
    known: tuple[str, ...]

    @property
    def names(self) -> str:
        """The known names as text."""
        return ", ".join(self.known)


@dataclass(eq=False, kw_only=True)
class ModelMissing(PipelineError):
    """There is no model package of that name.

    Attributes:
        name: What was asked for.
        folders: Where it was looked for.
    """

    message: ClassVar[str] = "There is no model package {name!r} in {places}."

    name: str
    folders: tuple[str, ...]

    @property
    def places(self) -> str:
        """The folders as text."""
        return ", ".join(self.folders)


@dataclass(eq=False, kw_only=True)
class BrainNotFound(PipelineError):
    """The images do not show a brain as a whole.

    Attributes:
        reason: What was looked at, and what came out.
    """

    message: ClassVar[str] = "the brain was not found ({reason})"  # goes on where a note's sentence has begun

    reason: str


@dataclass(eq=False, kw_only=True)
class ModelsDiffer(PipelineError):
    """The model packages on the worker are not those that the job was made for.

    Attributes:
        pipeline: What was to run.
        folders: Where the worker has its packages.
    """

    message: ClassVar[str] = (
        "The model packages for {pipeline} in {places} are not those that the job was made for; "
        "were they replaced, or does this machine have other ones?"
    )

    pipeline: str
    folders: tuple[str, ...]

    @property
    def places(self) -> str:
        """The folders as text."""
        return ", ".join(self.folders)
