"""`iovigil run` with any number of jobs: what they are, when each begins and ends."""
