"""fio's surface: its command line read, its JSON written, and the summary beside it."""
