"""A busy machine: a command runs while other processes take every core (`make test-busy`)."""
