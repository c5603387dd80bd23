"""/proc and /sys: one module per file format (bytes → values, pure), plus one cached reader, `files`."""
