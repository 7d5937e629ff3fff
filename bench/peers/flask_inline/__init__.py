"""The naive peer: Flask that tells Order and User before it answers."""
