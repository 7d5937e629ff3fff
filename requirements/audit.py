"""`make audit`: does what the image runs on have known vulnerabilities? pip-audit asks PyPI for them.

Ends with 0 if none is known, 1 if some are, and 3 if nobody knows: without the network, or from an index that
does not have what is known. pip-audit itself says of packages that it could not ask for that they have none.
Further arguments are pip-audit's, `--vulnerability-service osv` for example.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).with_name("otel.txt")  # what the image has: all of payment.txt, and more
EXIT_NONE, EXIT_SOME, EXIT_NOT_KNOWN = 0, 1, 3


def main() -> int:
    """Ask, print what was said, and return the exit code."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--requirement",
        str(LOCK),
        "--disable-pip",
        "--require-hashes",
    ]
    as_json = ["--progress-spinner", "off", "--format", "json", "--desc", "off"]
    asked = subprocess.run([*command, *as_json, *sys.argv[1:]], capture_output=True, text=True, check=False)  # noqa: S603  # ours
    if not asked.stdout.startswith("{"):
        print(asked.stderr.strip().rpartition("\n")[2], file=sys.stderr)
        print("NOT AUDITED: the service that knows of vulnerabilities was not reached.", file=sys.stderr)
        return EXIT_NOT_KNOWN
    packages: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    found = [(package, each) for package in packages for each in package.get("vulns", [])]
    for package, each in found:
        mended = ", ".join(each["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {each['id']}, mended in {mended}")
    if skipped:
        print(
            f"NOT AUDITED: nothing is known of {len(skipped)} of {len(packages)}: {', '.join(skipped)}",
            file=sys.stderr,
        )
    if found:
        return EXIT_SOME
    if skipped:
        return EXIT_NOT_KNOWN
    print(f"none known in {len(packages)} packages")
    return EXIT_NONE


if __name__ == "__main__":
    sys.exit(main())
