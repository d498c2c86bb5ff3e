"""A storm over webhooks: messages under load, a receiver and a server that are killed at random.

At the end every message must have arrived at least once, the first arrivals of a conversation in the order of their
seqs, and repeats with the id of the first. Needs `standardwebhooks`, the reference library.
"""

import argparse
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The product, on a folder and a port that stay the same."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.port = binary, folder, free_port()
        self.start()

    def start(self):
        listen = f"127.0.0.1:{self.port}"
        command = [self.binary, "run", "--dev", "--json", "--listen", listen, "--data", os.path.join(self.folder, "data")]
        errors = open(os.path.join(self.folder, "server.log"), "ab")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"server did not start, see {self.folder}/server.log")
        self.key = json.loads(line)["server_key"]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def call(self, connection, method, path, body=None, headers=None):
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json", **(headers or {})}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)


class Receiver:
    """The receiver, on a port and a log that stay the same."""

    def __init__(self, folder, secret, port):
        self.log, self.secret, self.port, self.starts = os.path.join(folder, "received"), secret, port, 0
        self.start()

    def start(self):
        self.starts += 1
        command = [sys.executable, os.path.join(HERE, "receiver.py"), str(self.port), self.log, self.secret]
        self.process = subprocess.Popen(command + [str(self.starts)])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def received(self):
        with open(self.log, encoding="utf-8") as log:
            return [line.split() for line in log]


def send(server, conversations, rate, until, sent, failures):
    """Sends at a rate until a time; what has no answer is sent again with the same key."""
    connection, turn = server.connect(), 0
    begun = time.monotonic()
    while time.monotonic() < until:
        conversation = conversations[turn % len(conversations)]
        turn += 1
        key = str(uuid.uuid4())
        while True:
            try:
                path = f"/v1/conversations/{conversation}/messages"
                body = {"sender": "alice", "text": f"message {turn}"}
                status, answer = server.call(connection, "POST", path, body, {"idempotency-key": key})
                if status in (200, 201):
                    sent.append((conversation, answer["seq"]))
                    break
                failures.append(status)
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                connection = server.connect()
            time.sleep(0.05)
        ahead = begun + turn / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)


def check(sent, received):
    """What is wrong; nothing where all is well."""
    wrong = [f"not verified: {' '.join(line)}" for line in received if line[0] == "BAD"]
    lines = [(line[0], int(line[1]), line[2]) for line in received if line[0] != "BAD" and len(line) == 3]
    ids, owners, newest, repeats = {}, {}, {}, 0
    for conversation, seq, message_id in lines:
        place = (conversation, seq)
        if place in ids:
            repeats += 1
            if ids[place] != message_id:
                wrong.append(f"{place} came with the ids {ids[place]} and {message_id}")
            continue
        ids[place] = message_id
        if owners.setdefault(message_id, place) != place:
            wrong.append(f"{message_id} is the id of {owners[message_id]} and {place}")
        if seq < newest.get(conversation, 0):
            wrong.append(f"{place} came first after {newest[conversation]}")
        newest[conversation] = max(newest.get(conversation, 0), seq)
    missing = sorted(set(sent) - set(ids))
    wrong += [f"{place} never came" for place in missing]
    return wrong, len(missing), repeats


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--seconds", type=int, default=180)
    arguments.add_argument("--rate", type=int, default=200, help="messages per second")
    arguments.add_argument("--conversations", type=int, default=40)
    arguments.add_argument("--server-kills", type=int, default=3)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    arguments.add_argument("--patience", type=int, default=180, help="seconds for what is late at the end")
    options = arguments.parse_args()
    chance = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(options.binary, folder)
        receiver = None
        try:
            connection = server.connect()
            conversations = [f"storm{number}" for number in range(options.conversations)]
            for conversation in conversations:
                wish = {"id": conversation, "kind": "group", "members": ["alice", "bob"]}
                status, answer = server.call(connection, "POST", "/v1/conversations", wish)
                assert status == 201, answer
            port = free_port()
            wish = {"url": f"http://127.0.0.1:{port}/hook", "events": ["message.created"]}
            status, webhook = server.call(connection, "POST", "/v1/webhooks", wish)
            assert status == 201, webhook
            receiver = Receiver(folder, webhook["secret"], port)
            sent, failures, threads = [], [], []
            until = time.monotonic() + options.seconds
            for number in range(4):
                own = conversations[number::4]
                work = (server, own, options.rate / 4, until, sent, failures)
                threads.append(threading.Thread(target=send, args=work, daemon=True))
            for thread in threads:
                thread.start()
            kills = storm(server, receiver, chance, until, options)
            for thread in threads:
                thread.join()
            finish(sent, receiver, options.patience)
            received = receiver.received()
        finally:
            server.kill()
            if receiver is not None:
                receiver.kill()
    wrong, missing, repeats = check(sent, received)
    figures = {"sent": len(sent), "deliveries": len(received), "repeats": repeats, "missing": missing, **kills}
    print(json.dumps(figures))
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    if wrong or failures:
        raise SystemExit(f"{len(wrong)} things are wrong, {len(failures)} requests failed {failures[:5]}")


def storm(server, receiver, chance, until, options):
    """Kills the receiver again and again, and the server a few times."""
    kills = {"receiver_kills": 0, "server_kills": 0}
    moments = sorted(chance.uniform(0.2, 0.9) * options.seconds for _ in range(options.server_kills))
    begun = until - options.seconds
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.5, 5))
        receiver.kill()
        kills["receiver_kills"] += 1
        time.sleep(chance.uniform(0, 3))
        receiver.start()
        if moments and time.monotonic() - begun > moments[0]:
            moments.pop(0)
            server.kill()
            kills["server_kills"] += 1
            server.start()
    return kills


def finish(sent, receiver, patience):
    """Waits until everything came, for as long as patience lasts."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        came = {(line[0], int(line[1])) for line in receiver.received() if len(line) == 3 and line[0] != "BAD"}
        if came.issuperset(sent):
            return
        time.sleep(0.5)


main()
