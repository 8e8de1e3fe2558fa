"""Search strategies on encoded architectures, one paper a file."""
