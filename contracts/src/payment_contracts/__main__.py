"""The entry of the program. Exit codes are its interface: a crash must not end with 1, which is broken."""

import io
import sys
import traceback

INVALID = 2


def main() -> int:
    """Run the command line; a fault of this program or its installation says nothing about a contract."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")  # a service may answer what it cannot show
    try:
        from payment_contracts.cli import run  # noqa: PLC0415  # Pact's native part may not load

        return run(sys.argv[1:])
    except Exception as error:  # noqa: BLE001  # whatever it is, no contract is broken by it
        traceback.print_exc()
        print(f"invalid run: this program itself failed ({type(error).__name__})", file=sys.stderr)
        return INVALID


if __name__ == "__main__":
    sys.exit(main())
