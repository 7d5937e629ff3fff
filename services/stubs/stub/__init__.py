"""What both stubs are made of: the service and its record, the switches, the answers, the server."""
