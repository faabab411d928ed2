"""The configuration file `scanward.yaml`: frozen, wholly checked at start-up, secrets masked, unknown keys refused.

Any value may come from the environment instead: `SCANWARD_` and the keys joined by two underscores, so
`SCANWARD_LISTENER__PORT=104` sets `listener: {port: 104}`. The environment wins over the file.
"""

from daemon.config.load import load_config
from daemon.config.model import Config
from daemon.config.sections import (
    AllowedSender,
    AssemblySection,
    Destination,
    EngineSection,
    ListenerSection,
    LoggingSection,
    Tls,
    WatchSection,
    WorkersSection,
)

__all__ = [
    "AllowedSender",
    "AssemblySection",
    "Config",
    "Destination",
    "EngineSection",
    "ListenerSection",
    "LoggingSection",
    "Tls",
    "WatchSection",
    "WorkersSection",
    "load_config",
]
