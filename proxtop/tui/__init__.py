"""The screen: a pure core (state, history, table, screen, keys, theme) in a thin prompt_toolkit program."""
