"""Start the service as the old documentation says: `python app.py`."""

import sys

from payment.__main__ import main

main(["serve", *sys.argv[1:]])
