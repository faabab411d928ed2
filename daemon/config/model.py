"""The whole configuration, and the folders that follow from it."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from daemon.config.sections import (
    AssemblySection,
    ConsoleSection,
    Destination,
    EngineSection,
    LimitsSection,
    ListenerSection,
    LoggingSection,
    WatchSection,
    WorkersSection,
)


class Config(BaseSettings):
    """The whole configuration; see `deploy/scanward.yaml` for a commented example."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="SCANWARD_", env_nested_delimiter="__")

    data_dir: Path
    listener: ListenerSection | None = ListenerSection()
    watch: tuple[WatchSection, ...] = ()
    database: SecretStr | None = None
    limits: LimitsSection = LimitsSection()
    assembly: AssemblySection = AssemblySection()
    workers: WorkersSection = WorkersSection()
    engine: EngineSection = EngineSection()
    destinations: dict[str, Destination] = {}
    rules: Path = Path("rules.yaml")
    models: tuple[Path, ...] = ()
    console: ConsoleSection | None = None
    logging: LoggingSection = LoggingSection()

    @model_validator(mode="after")
    def _every_gpu_has_a_worker(self) -> Config:
        wanted, there = len(self.engine.gpu), self.workers.count
        if wanted > there and self.workers.scheduler is None:
            raise ValueError(f"engine.gpu names {wanted} GPUs, but workers.count is {there}: one worker per GPU")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then the file (which arrives as keyword arguments)."""
        return EnvSettingsSource(settings_cls), init_settings

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL; without the key, an SQLite file in the data folder."""
        if self.database is not None:
            return self.database.get_secret_value()
        return f"sqlite:///{self.data_dir / 'scanward.sqlite'}"

    @property
    def spool_dir(self) -> Path:
        """What was received, as it came."""
        return self.data_dir / "spool"

    @property
    def outbox_dir(self) -> Path:
        """Results, one folder per job, kept until every destination has them and after."""
        return self.data_dir / "outbox"

    @property
    def status_file(self) -> Path:
        """How the workers stand, for `scanward status`."""
        return self.data_dir / "status.json"

    @property
    def cache_dir(self) -> Path:
        """Compiled networks."""
        return self.data_dir / "plans"
