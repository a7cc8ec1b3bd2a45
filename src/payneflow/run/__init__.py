"""A run as a whole: its configuration, what it will take, how far it is, and the Python of its workflow."""
