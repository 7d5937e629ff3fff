"""What operators watch: metrics of the processes, and of what the database holds."""
