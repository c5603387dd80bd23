"""Statistical profiles of VMs: what each does over time, as chains of states, and what follows from it. No I/O.

samples → buffers → states (discretise) → transitions (markov), over the whole (series), by time of day and week
(periods) and by regime (phases) → a profile for each VM (profile), its document (document), and what it tells:
forecast, compare, plan.
"""
