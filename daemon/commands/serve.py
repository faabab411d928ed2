from __future__ import annotations

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption
from daemon.config import load_config
from daemon.logs import set_up_logs
from daemon.service import Service


def serve(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    loaded = load_config(config)
    set_up_logs(loaded.logging.level, json_lines=loaded.logging.json_lines)
    with Service(loaded) as service:
        service.run_until_signal()
