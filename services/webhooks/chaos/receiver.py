"""A receiver of webhooks for chaos.py: verifies each delivery, writes it down, and misbehaves now and then.

usage: receiver.py PORT LOG SECRET SEED

It verifies by `standardwebhooks`, the reference library, which must refuse what is altered. A delivery is written with
one write(2) before it is answered, so that a kill loses nothing that was answered.
"""

import json
import os
import random
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

PORT, LOG, SECRET, SEED = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])


def verify(body, headers):
    """Raises unless the delivery is signed with the secret, and what is altered of it is not."""
    webhook = Webhook(SECRET)
    webhook.verify(body, headers)
    later = str(int(headers["webhook-timestamp"]) + 1)
    for altered_body, altered in [
        (body + b" ", headers),
        (body.replace(b"message", b"massage", 1), headers),
        (body, {**headers, "webhook-id": headers["webhook-id"] + "0"}),
        (body, {**headers, "webhook-timestamp": later}),
    ]:
        try:
            webhook.verify(altered_body, altered)
        except WebhookVerificationError:
            continue
        raise ValueError(f"an altered delivery was taken: {altered}")


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
