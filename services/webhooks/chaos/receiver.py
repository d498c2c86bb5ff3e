"""A receiver of webhooks for chaos.py: verifies each delivery, writes it down, and misbehaves now and then.

usage: receiver.py PORT LOG SECRET SEED

With the package `standardwebhooks` it verifies by that, the reference library; without it by itself. A delivery is
written with one write(2) before it is answered, so that a kill loses nothing that was answered.
"""

import base64
import hashlib
import hmac
import json
import os
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, LOG, SECRET, SEED = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

try:
    from standardwebhooks.webhooks import Webhook
except ImportError:
    Webhook = None


def verify(body, headers):
    """Raises unless the delivery is signed with the secret."""
    if Webhook is not None:
        Webhook(SECRET).verify(body, headers)
        return
    if abs(time.time() - int(headers["webhook-timestamp"])) > 300:
        raise ValueError("timestamp")
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    given = [part[3:] for part in headers["webhook-signature"].split(" ") if part.startswith("v1,")]
    if not any(hmac.compare_digest(wanted, signature) for signature in given):
        raise ValueError("signature")


log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
chance = random.Random(SEED)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            verify(body, headers)
        except Exception as error:  # whatever the library raises
            os.write(log, f"BAD {error}\n".encode())
            return self.answer(400)
        luck = chance.random()
        if luck < 0.01:
            return self.answer(500)
        data = json.loads(body)["data"]
        line = f"{data['conversation']} {data['event']['seq']} {headers['webhook-id']}\n"
        os.write(log, line.encode())
        if luck < 0.02:
            # The answer gets lost.
            self.close_connection = True
            return None
        return self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", PORT), Handler).serve_forever()
