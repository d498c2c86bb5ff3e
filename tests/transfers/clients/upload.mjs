// Uploads a file by tus-js-client, a public client of tus: upload.mjs ENDPOINT TOKEN PATH PARTS
//
// Prints where the upload is. What fails is tried again by the client; what it gives up, here.
import { createReadStream } from 'node:fs'
import * as tus from 'tus-js-client'

const [endpoint, token, path, parts] = process.argv.slice(2)
// Of what the client gives up.
let attempts = 300

const upload = new tus.Upload(createReadStream(path), {
  endpoint,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { filename: 'javascript.bin' },
  parallelUploads: Number(parts),
  retryDelays: Array(20).fill(200),
  onError(error) {
    attempts -= 1
    if (attempts === 0) {
      console.error(error)
      process.exit(1)
    }
    setTimeout(() => upload.start(), 200)
  },
  onSuccess() {
    console.log(upload.url)
  },
})
upload.start()
