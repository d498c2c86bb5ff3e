"""Uploads a file by tuspy, a public client of tus: upload.py ENDPOINT TOKEN PATH

Prints where the upload is. What fails is tried again by the client; what it gives up, here.
"""

import sys
import time

from tusclient import client
from tusclient.exceptions import TusCommunicationError

ENDPOINT, TOKEN, PATH = sys.argv[1:]
CHUNK_BYTES = 8 << 20
# Of what the client gives up: to begin an upload, and to ask how far one is.
ATTEMPTS = 300


def persistently(what):
    for _ in range(ATTEMPTS):
        try:
            return what()
        except (TusCommunicationError, OSError) as error:
            failure = error
            time.sleep(0.2)
    raise failure


tus = client.TusClient(ENDPOINT, headers={"Authorization": f"Bearer {TOKEN}"})
uploader = persistently(
    lambda: tus.uploader(PATH, chunk_size=CHUNK_BYTES, retries=20, retry_delay=0.2, metadata={"filename": "python.bin"})
)


def upload():
    uploader.offset = uploader.get_offset() if uploader.url else 0
    uploader.upload()


persistently(upload)
print(uploader.url)
