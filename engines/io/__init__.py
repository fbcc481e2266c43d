"""The I/O engines, one module each; a job names its engine by module name."""
