"""The `payment` program, a command a file. It may import everything."""
