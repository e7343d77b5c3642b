"""An ACME server that fails on demand: a proxy of pebble that answers itself while the file MODE contains an error.

Usage: proxy.py PORT PEBBLE CERTIFICATE KEY MODE
"""

from __future__ import annotations

import http.client
import http.server
import json
import pathlib
import ssl
import sys

PORT, PEBBLE, CERTIFICATE, KEY, MODE = sys.argv[1:]
ERRORS = {
    "500": ("urn:ietf:params:acme:error:serverInternal", "The service is down for maintenance"),
    "429": (
        "urn:ietf:params:acme:error:rateLimited",
        "too many certificates (5) already issued",
    ),
}
LEFT_OUT = ("Content-Length", "Transfer-Encoding")
PASSED_ON = ("Content-Type", "Content-Length", "User-Agent", "Host")


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        mode = pathlib.Path(MODE).read_text(encoding="ascii").strip()
        # A client reads the directory and gets a nonce from a CA that refuses its order.
        if mode in ERRORS and (mode == "500" or "order" in self.path):
            kind, detail = ERRORS[mode]
            content = json.dumps({"type": kind, "detail": detail, "status": int(mode)}).encode()
            self.reply(int(mode), {"Content-Type": "application/problem+json", "Retry-After": "3600"}, content)
            return
        trusted = ssl.create_default_context(cafile=CERTIFICATE)
        trusted.check_hostname = False
        pebble = http.client.HTTPSConnection(PEBBLE, context=trusted, timeout=60)
        headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        pebble.request(self.command, self.path, body, headers)
        response = pebble.getresponse()
        content = response.read()
        kept = {name: value for name, value in response.getheaders() if name not in LEFT_OUT}
        self.reply(response.status, kept, content)

    do_GET = do_HEAD = do_POST = answer

    def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


server = http.server.ThreadingHTTPServer(("", int(PORT)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
