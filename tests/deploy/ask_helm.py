"""Helm as a program: `ask_helm.py render|lint CHART VALUES`, values and answer as JSON."""

import json
import sys

import helm_python

what, path, values = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
try:
    if what == "lint":
        answer = helm_python.lint(path, values, strict=True)
    else:
        with helm_python.Chart.load(path) as chart:
            chart.validate_schema(values)
            answer = chart.render(values, name="pay", namespace="shop")
except helm_python.HelmError as error:
    sys.exit(str(error))
print(json.dumps(answer))
