"""Published networks, as operations and as architectures of the spaces they belong to."""
