"""Some days of a small restaurant: who came, what went wrong, played by the use cases themselves."""
