"""What all else rests on: states, neighbours, errors, settings, units. It imports nothing of ours."""
