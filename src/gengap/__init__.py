"""gengap."""
