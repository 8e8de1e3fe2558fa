"""Search spaces: named choices, and the walk from a code to the operations of its network."""
