"""The console: pages for cashier, owner and operator, served beside the API and made of its answers alone."""
