"""The data plane: fio's job loop and verify engine, run in a child process of its own."""
