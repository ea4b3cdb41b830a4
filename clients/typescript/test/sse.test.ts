import assert from "node:assert/strict";
import { test } from "node:test";
import { type Piece, piecesOf, SseParser } from "../src/sse.js";

const TEXT = [
  "\uFEFFretry: 1000\n",
  "event: stream.open\nid: 1-0\ndata: {}\n\n",
  ": keep-alive\n\n",
  'id: 1-1\r\nevent: page.created\r\ndata: {"title":\r\ndata:  "Grüße"}\r\n\r\n',
  "data\rid: 1-2\rdata: x\r\r",
  "unknown: field\nid: a\0b\nretry: soon\nevent: empty\n\n",
  "data: last\n\n",
].join("");

const PIECES: Piece[] = [
  { kind: "retry", milliseconds: 1000 },
  { kind: "frame", frame: { id: "1-0", event: "stream.open", data: "{}" } },
  { kind: "comment" },
  { kind: "frame", frame: { id: "1-1", event: "page.created", data: '{"title":\n "Grüße"}' } },
  { kind: "frame", frame: { id: "1-2", event: "message", data: "\nx" } },
  { kind: "frame", frame: { id: undefined, event: "message", data: "last" } },
];

function streamed(chunks: Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      chunks.forEach((chunk) => controller.enqueue(chunk));
      controller.close();
    },
  });
}

async function collected(stream: ReadableStream<Uint8Array>): Promise<Piece[]> {
  const pieces: Piece[] = [];
  for await (const piece of piecesOf(stream)) {
    pieces.push(piece);
  }
  return pieces;
}

test("frames are the same wherever the chunks are cut", async () => {
  const bytes = new TextEncoder().encode(TEXT);
  for (let size = 1; size <= bytes.length; size += 1) {
    const count = Math.ceil(bytes.length / size);
    const chunks = Array.from({ length: count }, (_, index) => bytes.slice(index * size, (index + 1) * size));
    assert.deepEqual(await collected(streamed(chunks)), PIECES, `chunks of ${size} bytes`);
  }
});

test("what has no empty line behind it is no frame", () => {
  const parser = new SseParser();
  assert.deepEqual(parser.push("id: 1\ndata: half"), []);
  assert.deepEqual(parser.push("\n"), []);
  assert.deepEqual(parser.push("\n"), [{ kind: "frame", frame: { id: "1", event: "message", data: "half" } }]);
});

test("a reader who leaves ends the connection", async () => {
  let isCancelled = false;
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode(": alive\n")),
    cancel: () => {
      isCancelled = true;
    },
  });
  for await (const piece of piecesOf(stream)) {
    assert.equal(piece.kind, "comment");
    break;
  }
  assert.ok(isCancelled);
});
