"""proxtop-agg: many hypervisors in, one bus of the same shape out."""
