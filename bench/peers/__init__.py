"""Other services that do the work of `POST /payments`, to compare ours with."""
