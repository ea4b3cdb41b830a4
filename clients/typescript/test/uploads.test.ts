import assert from "node:assert/strict";
import { createServer } from "node:http";
import { type AddressInfo } from "node:net";
import { test } from "node:test";
import { sendFile, typeOf } from "../src/uploads.js";

/** A server that answers how many bytes it got, and the last of them. */
async function counting(use: (url: string) => Promise<void>): Promise<void> {
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      const body = Buffer.concat(pieces);
      response.end(JSON.stringify([body.length, body.at(-1) ?? null, request.headers["content-type"]]));
    });
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  } finally {
    server.close();
  }
}

test("a file is sent whole, and each piece is told once", () =>
  counting(async (url) => {
    for (const size of [0, 1, 64 * 1024, 300_000]) {
      const told: number[] = [];
      const body = new Uint8Array(size).fill(7);
      const init = { method: "POST", headers: { "content-type": "image/png" }, body };
      const answer = await sendFile(fetch, url, init, (sent, total) => {
        assert.equal(total, size);
        told.push(sent);
      });
      assert.deepEqual(await answer.json(), [size, size === 0 ? null : 7, "image/png"]);
      assert.deepEqual(
        told,
        [...new Set(told)].sort((one, other) => one - other),
      );
      assert.equal(told.at(-1) ?? 0, size);
    }
  }));

test("the type of a file is its own, or unknown", () => {
  assert.equal(typeOf(new Blob(["x"], { type: "text/csv" })), "text/csv");
  assert.equal(typeOf(new Blob(["x"])), "application/octet-stream");
  assert.equal(typeOf(new Uint8Array(1)), "application/octet-stream");
});
