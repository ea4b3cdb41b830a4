import assert from "node:assert/strict";
import { test } from "node:test";
import type { AnyEvent } from "../src/index.js";
import { Plinth } from "../src/index.js";
import { json, refusal, server } from "./servers.js";

/** A response that ends after these frames, cleanly or as a connection that breaks. */
function stream(text: string, breaks = false): Response {
  let isSent = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (!isSent) {
        isSent = true;
        controller.enqueue(new TextEncoder().encode(text));
      } else if (breaks) {
        controller.error(new TypeError("terminated"));
      } else {
        controller.close();
      }
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

const OPEN = (id: number) => `retry: 1\nevent: stream.open\nid: ${id}\ndata: {}\n\n`;
const EVENT = (id: number) => `id: ${id}\nevent: page.created\ndata: {"id":"p-${id}","status":"STATUS_DRAFT"}\n\n`;
const failed = (code: number, reason: string) => {
  const status = { code, message: "m", details: [{ "@type": "x/google.rpc.ErrorInfo", reason }] };
  return `event: stream.error\ndata: ${JSON.stringify(status)}\n\n`;
};

async function take(events: AsyncIterable<AnyEvent>, count: number): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of events) {
    ids.push(id);
    if (ids.length === count) {
      break;
    }
  }
  return ids;
}

test("a stream goes on after its last event, however a connection ends", async () => {
  const connections = [
    stream(OPEN(0) + EVENT(1) + EVENT(2), true),
    refusal(503, 14, "OVERLOADED"),
    stream(OPEN(2) + EVENT(3) + 'id: 4\nevent: page.created\ndata: {"half', false),
    stream(failed(14, "DEPENDENCY_UNAVAILABLE")),
    stream(OPEN(3), true),
    stream(failed(16, "TOKEN_EXPIRED")),
    stream(EVENT(4) + EVENT(5)),
  ];
  const { fetch, sent } = server(() => connections.shift() as Response);
  const plinth = new Plinth({ baseUrl: "", apiKey: "k", fetch });
  assert.deepEqual(await take(plinth.events(["page.*"]), 5), ["1", "2", "3", "4", "5"]);
  const places = sent.map(({ url }) => new URLSearchParams(url.split("?")[1]).get("lastEventId"));
  assert.deepEqual(places, [null, "2", "2", "3", "3", "3", "3"]);
  assert.ok(sent.every(({ url, headers }) => url.includes("types=page.*") && headers["authorization"] === "Bearer k"));
});

test("a user's stream has a ticket of its own for each connection, and no token in its URL", async () => {
  let ticket = 0;
  const { fetch, sent } = server(({ url }) =>
    url.endsWith("/tickets") ? json({ ticket: `ticket-${(ticket += 1)}` }) : stream(OPEN(0) + EVENT(ticket), true),
  );
  const plinth = new Plinth({ baseUrl: "", token: "secret", fetch });
  assert.deepEqual(await take(plinth.events(), 2), ["1", "2"]);
  const streams = sent.filter(({ verb }) => verb === "GET");
  assert.deepEqual(
    streams.map(({ url }) => /ticket=([^&]*)/.exec(url)?.[1]),
    ["ticket-1", "ticket-2"],
  );
  assert.ok(streams.every(({ url, headers }) => !url.includes("secret") && headers["authorization"] === undefined));
});

test("what no further connection can mend is told", async () => {
  for (const response of [refusal(403, 7, "PERMISSION_MISSING"), stream(OPEN(1) + failed(11, "EVENT_UNKNOWN"))]) {
    const { fetch, sent } = server(() => response);
    const reason = /PERMISSION|EVENT_UNKNOWN/;
    await assert.rejects(
      take(new Plinth({ baseUrl: "", apiKey: "k", fetch }).events(), 1),
      (error: { reason: string }) => reason.test(error.reason),
    );
    assert.equal(sent.length, 1);
  }
});

test("a connection that says nothing is given up for another one", async () => {
  const { fetch, sent } = server((_, number) => {
    const silent = new ReadableStream({ start: (c) => c.enqueue(new TextEncoder().encode(OPEN(0))) });
    return number === 1 ? hanging(silent) : stream(EVENT(1));
  });
  const signals: (AbortSignal | null | undefined)[] = [];
  const recording: typeof fetch = (url, init) => {
    signals.push(init?.signal);
    return fetch(url, init);
  };
  // Node's own fetch ends the body with its signal; here the stand-in does.
  const hanging = (body: ReadableStream) => {
    let controller: ReadableStreamDefaultController | undefined;
    const tied = new ReadableStream({ start: (c) => (controller = c) });
    void body
      .getReader()
      .read()
      .then(({ value }) => controller?.enqueue(value));
    signals.at(-1)?.addEventListener("abort", () => controller?.error(signals[0]?.reason));
    return new Response(tied);
  };
  const events = new Plinth({ baseUrl: "", apiKey: "k", fetch: recording }).events([], { silence: 20 });
  assert.deepEqual(await take(events, 1), ["1"]);
  assert.equal(sent.length, 2);
});

test("events have readable enums, and those that a worker emits too", async () => {
  const text = EVENT(1) + EVENT(2).replace("page.created", "page.imported");
  const { fetch } = server(() => stream(text));
  const seen: AnyEvent[] = [];
  for await (const event of new Plinth({ baseUrl: "", apiKey: "k", fetch }).events()) {
    seen.push(event);
    if (seen.length === 2) {
      break;
    }
  }
  assert.deepEqual(
    seen.map(({ data }) => (data as { status: string }).status),
    ["draft", "draft"],
  );
});

test("a subscription tells when it is open, ends quietly, and tells what else has ended it", async () => {
  const { fetch } = server(() => stream(OPEN(0) + EVENT(1) + EVENT(2)));
  const plinth = new Plinth({ baseUrl: "", apiKey: "k", fetch });
  const seen: string[] = [];
  await new Promise<void>((resolve, reject) => {
    const live = plinth.subscribe(["page.created"], ({ data }) => {
      seen.push(data.id);
      live.stop();
      live.opened.then(resolve, reject);
    });
  });
  assert.deepEqual(seen, ["p-1"]);
  const error = await new Promise((resolve) => {
    plinth.subscribe([], () => Promise.reject(new Error("handler")), { onError: resolve });
  });
  assert.match(String(error), /handler/);
  const denied = new Plinth({
    baseUrl: "",
    apiKey: "k",
    fetch: server(() => refusal(403, 7, "PERMISSION_MISSING")).fetch,
  });
  const told: unknown[] = [];
  const refused = denied.subscribe([], () => undefined, { onError: (reason) => told.push(reason) });
  await assert.rejects(refused.opened, { reason: "PERMISSION_MISSING" });
  assert.equal(told.length, 1);
});

test("the stream of an operation is over with the operation", async () => {
  const progressed = 'id: 1\nevent: operation.progressed\ndata: {"state":"STATE_RUNNING"}\n\n';
  const done = 'id: 2\nevent: operation.finished\ndata: {"state":"STATE_DONE","endTime":"2026-01-01T00:00:00Z"}\n\n';
  const { fetch, sent } = server(() => stream(progressed + done));
  const plinth = new Plinth({ baseUrl: "", apiKey: "k", fetch });
  const states: unknown[] = [];
  for await (const event of plinth.operations.stream({ operationId: "o" })) {
    states.push((event.data as { state: string }).state);
  }
  assert.deepEqual([states, sent.length], [["running", "done"], 1]);
});
