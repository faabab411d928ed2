"""The spool: what was received, durable before it is acknowledged, and never lost."""
