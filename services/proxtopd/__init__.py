"""The fleet: one process per worker, all on one bus."""
