// Uploads with the client of the authors of tus: breaks off after a part, finds out where it is, and goes on.
// Takes the address where uploads begin, a token, a file, its name, and the bytes of a piece. Prints what it has seen.
import { readFileSync } from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, token, path, filename, piece] = process.argv.slice(2);
const file = readFileSync(path);
const seen = [];

function upload(options) {
  return new Promise((resolve, reject) => {
    const one = new Upload(file, {
      endpoint,
      chunkSize: Number(piece),
      headers: { authorization: `Bearer ${token}` },
      metadata: { filename, filetype: "application/pdf", alt: "Größe" },
      retryDelays: [0, 200, 500],
      onError: reject,
      onChunkComplete: (_, accepted) => {
        seen.push(accepted);
        if (options.stopAfter && accepted >= options.stopAfter) one.abort().then(() => resolve(one.url), reject);
      },
      onSuccess: () => resolve(one.url),
      ...options.more,
    });
    one.start();
  });
}

const url = await upload({ stopAfter: Number(piece) });
const broken = seen.splice(0);
await upload({ more: { uploadUrl: url } });
const resumed = seen.splice(0);
const cancelled = await upload({ stopAfter: Number(piece) });
await Upload.terminate(cancelled, { headers: { authorization: `Bearer ${token}` } });
console.log(JSON.stringify({ url, broken, resumed, cancelled }));
