"""A real nginx that shows a service at a path of its own; it is Debian's, as PyPI has none."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from ports import free_port

START_WITHIN_S = 10.0
PROGRAM = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location {path}/ {{
            proxy_pass {url}/;
            proxy_set_header Host $http_host;
            proxy_redirect off;
            proxy_buffering off;
        }}
    }}
}}
"""


class Nginx:
    """An nginx on a free port of loopback.

    Args:
        url: of the service.
        path: where it shows the service; it takes that off.

    Attributes:
        url: where it is.
    """

    def __init__(self, url: str, path: str) -> None:
        if PROGRAM is None:  # no PyPI package has it; `make test` needs only Python, make and a compiler
            pytest.skip("NOT RUN, there is no nginx here: apt-get install nginx-light")
        self._folder = Path(tempfile.mkdtemp(prefix="payment-nginx-"))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        configuration = self._folder / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(folder=self._folder, port=port, path=path, url=url))
        command = [
            PROGRAM,
            "-p",
            str(self._folder),
            "-e",
            str(self._folder / "log"),
            "-c",
            str(configuration),
        ]
        self._process = subprocess.Popen(command)
        deadline_s = time.monotonic() + START_WITHIN_S
        while True:
            try:
                httpx.get(f"{self.url}{path}/healthz", trust_env=False).raise_for_status()
            except httpx.HTTPError:
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    pytest.fail((self._folder / "log").read_text())
                time.sleep(0.02)
            else:
                return

    def remove(self) -> None:
        """End it and delete everything."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
