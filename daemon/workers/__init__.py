"""The worker processes: the pool, who is ready, the task that a worker runs, its warm-up, their status."""
