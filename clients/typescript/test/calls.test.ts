import assert from "node:assert/strict";
import { test } from "node:test";
import { Plinth, PlinthError } from "../src/index.js";
import { type Answering, AT_ONCE, json, refusal, server } from "./servers.js";

const BUSY = () => refusal(503, 14, "OVERLOADED", AT_ONCE);
const PAGE = { id: "p-1", title: "Hello", status: "STATUS_PUBLISHED", settings: { status: "STATUS_PUBLISHED" } };

function client(answering: Answering, options: object = {}) {
  const { fetch, sent } = server(answering);
  return {
    plinth: new Plinth({ baseUrl: "http://plinth.test/", apiKey: "k", tenantId: "t-1", fetch, ...options }),
    sent,
  };
}

test("a call has its path, query, body and credentials", async () => {
  const { plinth, sent } = client(() => json(PAGE, 201));
  await plinth.pages.create(
    { body: { slug: "hello", title: "Hello" } },
    { ifMatch: "x", headers: { "x-request-id": "1" } },
  );
  const [create] = sent;
  assert.equal(create?.url, "http://plinth.test/api/v1/tenants/t-1/pages");
  assert.deepEqual([create?.verb, create?.body], ["POST", { slug: "hello", title: "Hello" }]);
  assert.deepEqual(create?.headers["authorization"], "Bearer k");
  assert.deepEqual([create?.headers["if-match"], create?.headers["x-request-id"]], ["x", "1"]);
  await plinth.pages.get({ tenantId: "a/b", pageId: "ü?" });
  assert.equal(sent[1]?.url, "http://plinth.test/api/v1/tenants/a%2Fb/pages/%C3%BC%3F");
  await plinth.pages.batchGet({ ids: ["1", "2"] });
  assert.equal(sent[2]?.url, "http://plinth.test/api/v1/tenants/t-1/pages:batchGet?ids=1&ids=2");
});

test("a variable that would change the path is refused before anything is sent", async () => {
  const { plinth, sent } = client(() => json(PAGE), { tenantId: undefined });
  for (const pageId of ["", ".", "..", undefined as unknown as string]) {
    await assert.rejects(plinth.pages.get({ tenantId: "t", pageId }), /needs `pageId`/);
  }
  await assert.rejects(plinth.pages.get({ pageId: "p" }), /needs `tenantId`/);
  // @ts-expect-error Nobody deletes their own tenant by leaving it out.
  await assert.rejects(client(() => json({})).plinth.tenants.delete({}), /needs `tenantId`/);
  assert.deepEqual(sent, []);
});

test("enums are readable in answers and requests, and nothing else is touched", async () => {
  const { plinth, sent } = client((_, number) => json(number === 1 ? PAGE : { trips: [{ state: "STATE_ONGOING" }] }));
  const page = await plinth.pages.get({ pageId: "p-1" });
  assert.deepEqual([page.status, page.settings], ["published", { status: "STATUS_PUBLISHED" }]);
  const trips = await plinth.trips.list();
  assert.deepEqual(trips.trips, [{ state: "ongoing" }]);
  const day = { year: 2026, month: 1, day: 31 };
  await plinth.trips.create({ body: { title: "x", startDate: day, endDate: day, purpose: "business" } });
  await plinth.audit.getSecurityOverview({ bucket: "day", "range.period": "last_7_days" });
  assert.equal((sent[2]?.body as { purpose: string }).purpose, "PURPOSE_BUSINESS");
  assert.match(sent[3]?.url ?? "", /bucket=BUCKET_DAY&range\.period=PERIOD_LAST_7_DAYS/);
});

test("a write is sent again with the same idempotency key, and another write has another", async () => {
  const { plinth, sent } = client((_, number) => (number < 3 ? BUSY() : json(PAGE)));
  await plinth.pages.publish({ pageId: "p-1" });
  await plinth.pages.publish({ pageId: "p-1" });
  const keys = sent.map(({ headers }) => headers["idempotency-key"]);
  assert.equal(keys.length, 4);
  assert.equal(new Set(keys.slice(0, 3)).size, 1);
  assert.notEqual(keys[3], keys[0]);
});

test("a read has no idempotency key, and further attempts have a limit", async () => {
  const { plinth, sent } = client(BUSY);
  await assert.rejects(plinth.pages.get({ pageId: "p-1" }), { reason: "OVERLOADED", status: 503 });
  assert.equal(sent.length, 4);
  assert.ok(sent.every(({ headers }) => headers["idempotency-key"] === undefined));
  await assert.rejects(plinth.pages.get({ pageId: "p-1" }, { retries: 0 }), { reason: "OVERLOADED" });
  assert.equal(sent.length, 5);
});

test("what no further attempt can mend is told at once", async () => {
  const refused = [
    refusal(403, 7, "PERMISSION_MISSING"),
    refusal(500, 13, "INTERNAL"),
    new Response("", { status: 404 }),
  ];
  for (const response of refused) {
    const { plinth, sent } = client(() => response);
    await assert.rejects(plinth.pages.get({ pageId: "p-1" }), PlinthError);
    assert.equal(sent.length, 1);
  }
});

test("a wait that the call has no time for is not begun", async () => {
  const later = { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "900s" };
  const { plinth, sent } = client(() => refusal(429, 8, "RATE_LIMITED", later));
  await assert.rejects(plinth.pages.get({ pageId: "p-1" }), { reason: "RATE_LIMITED", retryAfter: 900 });
  assert.equal(sent.length, 1);
});

test("no answer, one that comes too late, and one that is aborted are told apart", async () => {
  const lost = client(() => Promise.reject(new TypeError("fetch failed")), { retries: 0 });
  await assert.rejects(lost.plinth.pages.get({ pageId: "p" }), { reason: "CONNECTION_FAILED", status: 0 });
  const hanging: typeof fetch = (_url, init) =>
    new Promise((_resolve, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
  const slow = new Plinth({ baseUrl: "", apiKey: "k", tenantId: "t", fetch: hanging, attemptTimeout: 1, retries: 1 });
  await assert.rejects(slow.pages.get({ pageId: "p" }), { reason: "TIMEOUT", code: "DEADLINE_EXCEEDED" });
  const controller = new AbortController();
  const call = slow.pages.get({ pageId: "p" }, { signal: controller.signal, attemptTimeout: 60_000 });
  controller.abort(new Error("left the page"));
  await assert.rejects(call, /left the page/);
});

test("an error has all that the answer tells", async () => {
  const fieldViolations = [{ field: "page.title", description: "is too long", reason: "string.max_len" }];
  const bad = { "@type": "type.googleapis.com/google.rpc.BadRequest", fieldViolations };
  const { plinth } = client(() => refusal(422, 3, "RULE_VIOLATED", bad));
  await assert.rejects(plinth.pages.get({ pageId: "p" }), {
    name: "PlinthError",
    message: "refused: RULE_VIOLATED",
    status: 422,
    code: "INVALID_ARGUMENT",
    reason: "RULE_VIOLATED",
    metadata: { key: "v" },
    violations: [{ field: "page.title", description: "is too long", rule: "string.max_len" }],
    requestId: "r-1",
  });
});

test("a list is a page when it is awaited, and all items when it is iterated over", async () => {
  const pages = [["1", "2"], [], ["3"]].map((ids, index) => ({
    pages: ids.map((id) => ({ id, status: "STATUS_DRAFT" })),
    nextPageToken: index < 2 ? `token-${index + 1}` : "",
  }));
  const { plinth, sent } = client(({ url }) => json(pages[Number(/token-(\d)/.exec(url)?.[1] ?? 0)]));
  const list = plinth.pages.list({ filter: "x", pageSize: 2 });
  assert.equal(sent.length, 0);
  assert.deepEqual(
    (await list).pages.map(({ id }) => id),
    ["1", "2"],
  );
  const found: string[] = [];
  for await (const page of list) {
    found.push(`${page.id} ${page.status}`);
  }
  assert.deepEqual(found, ["1 draft", "2 draft", "3 draft"]);
  assert.equal(sent.length, 3);
  assert.ok(sent.every(({ url }) => url.includes("filter=x&pageSize=2")));
});
