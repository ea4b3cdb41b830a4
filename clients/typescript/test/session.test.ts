import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStore, Plinth, PlinthError, type SessionStore, storageStore } from "../src/index.js";
import { type Answering, json, refusal, server, session } from "./servers.js";

const SIGN_IN = { email: "a@b.example", password: "secret" };
const who = (sent: { headers: Record<string, string> }) => sent.headers["authorization"]?.replace("Bearer ", "");

/** A server whose newest session is the one with the highest number. All other access tokens have expired. */
function issuer(): Answering {
  let newest = 1;
  return ({ url, body, headers }) => {
    if (url.endsWith("/auth/login")) {
      return json(session(newest));
    }
    if (url.endsWith("/auth/refresh")) {
      const token = (body as { refreshToken: string }).refreshToken;
      newest += token === `refresh-${newest}` ? 1 : 0;
      return token === `refresh-${newest - 1}` ? json(session(newest)) : refusal(401, 16, "REFRESH_TOKEN_REUSED");
    }
    return headers["authorization"] === `Bearer access-${newest}`
      ? json({ id: "p" })
      : refusal(401, 16, "TOKEN_EXPIRED");
  };
}

/** A store whose session has an access token that expired long ago. */
function stale(store: SessionStore = memoryStore()): SessionStore {
  void store.save({ accessToken: "access-0", refreshToken: "refresh-1", tenantId: "t-1", renewAt: Number.MAX_VALUE });
  return store;
}

function fakeStorage(): Storage {
  const kept = new Map<string, string>();
  const { get, set } = {
    get: (key: string) => kept.get(key) ?? null,
    set: (key: string, v: string) => kept.set(key, v),
  };
  return { getItem: get, setItem: set, removeItem: (key: string) => kept.delete(key) } as unknown as Storage;
}

test("a sign-in is kept, and names the tenant of calls", async () => {
  const { fetch, sent } = server(issuer());
  const plinth = new Plinth({ baseUrl: "", fetch });
  await plinth.signIn(SIGN_IN);
  assert.equal(sent[0]?.headers["authorization"], undefined);
  await plinth.pages.get({ pageId: "p" });
  assert.equal(sent[1]?.url, "/api/v1/tenants/t-1/pages/p");
  assert.equal((await plinth.session())?.accessToken, "access-1");
});

test("a sign-in that needs a code keeps nothing until it has it", async () => {
  const asked = { ...session(1), accessToken: "", refreshToken: "", secondFactor: { challenge: "psc_1" } };
  const { fetch, sent } = server(({ url }) => json(url.endsWith("/auth/login") ? asked : session(1)));
  const plinth = new Plinth({ baseUrl: "", fetch });
  const answer = await plinth.signIn(SIGN_IN);
  assert.equal(await plinth.session(), undefined);
  await plinth.completeSignIn(answer.secondFactor?.challenge ?? "", "123 456");
  assert.deepEqual(sent[1]?.body, { challenge: "psc_1", code: "123 456" });
  assert.equal((await plinth.session())?.accessToken, "access-1");
});

test("a step-up replaces the tokens, and its call brings the old one", async () => {
  const { fetch, sent } = server(() => json(session(1)));
  const plinth = new Plinth({ baseUrl: "", session: stale(), fetch });
  await plinth.stepUp({ password: "secret" });
  assert.equal(sent[0]?.headers["authorization"], "Bearer access-0");
  assert.deepEqual(sent[0]?.body, { password: "secret" });
  assert.equal((await plinth.session())?.accessToken, "access-1");
});

test("calls at the same time refresh an expired token once", async () => {
  const { fetch, sent } = server(issuer());
  const plinth = new Plinth({ baseUrl: "", session: stale(), fetch });
  await Promise.all(Array.from({ length: 20 }, () => plinth.pages.get({ pageId: "p" })));
  assert.equal(sent.filter(({ url }) => url.endsWith("/auth/refresh")).length, 1);
  assert.deepEqual(new Set(sent.slice(-20).map(who)), new Set(["access-2"]));
});

test("a token is refreshed before it expires", async () => {
  const { fetch, sent } = server(issuer());
  const old = { accessToken: "access-1", refreshToken: "refresh-1", tenantId: "t-1", renewAt: Date.now() - 1 };
  await new Plinth({ baseUrl: "", session: memoryStore(old), fetch }).pages.get({ pageId: "p" });
  assert.deepEqual(
    sent.map(({ url }) => url.split("/").at(-1)),
    ["refresh", "p"],
  );
});

test("clients that share a store refresh once, one after the other", async () => {
  const { fetch, sent } = server(issuer());
  const store = stale(storageStore(fakeStorage()));
  const tabs = [0, 1, 2].map(() => new Plinth({ baseUrl: "", session: store, fetch }));
  const locks = new Map<string, Promise<unknown>>();
  const request = (name: string, work: () => Promise<unknown>) => {
    const turn = (locks.get(name) ?? Promise.resolve()).then(work);
    locks.set(name, turn);
    return turn;
  };
  Object.defineProperty(globalThis, "navigator", { value: { locks: { request } }, configurable: true });
  try {
    await Promise.all(tabs.map((tab) => tab.pages.get({ pageId: "p" })));
  } finally {
    Reflect.deleteProperty(globalThis, "navigator");
  }
  assert.equal(sent.filter(({ url }) => url.endsWith("/auth/refresh")).length, 1);
});

test("a session that the server has ended is forgotten, and told of once", async () => {
  const { fetch } = server(() => refusal(401, 16, "SESSION_ENDED"));
  const told: PlinthError[] = [];
  const plinth = new Plinth({ baseUrl: "", session: stale(), fetch, onSessionEnd: (error) => told.push(error) });
  const calls = [1, 2].map(() => plinth.pages.get({ pageId: "p" }));
  const outcomes = await Promise.allSettled(calls);
  assert.ok(outcomes.every(({ status }) => status === "rejected"));
  assert.deepEqual(
    told.map(({ reason }) => reason),
    ["SESSION_ENDED"],
  );
  assert.equal(await plinth.session(), undefined);
});

test("a refresh that is not answered is tried once for all who wait, and ends nothing", async () => {
  const { fetch, sent } = server(({ url }) =>
    url.endsWith("/auth/refresh") ? Promise.reject(new TypeError("offline")) : refusal(401, 16, "TOKEN_EXPIRED"),
  );
  const plinth = new Plinth({ baseUrl: "", session: stale(), fetch, retries: 0 });
  const calls = [1, 2, 3].map(() => plinth.pages.get({ pageId: "p" }));
  await Promise.all(calls.map((call) => assert.rejects(call, { reason: "CONNECTION_FAILED" })));
  assert.equal(sent.filter(({ url }) => url.endsWith("/auth/refresh")).length, 1);
  assert.equal((await plinth.session())?.refreshToken, "refresh-1");
});

test("a token that somebody else has refreshed meanwhile is used, whoever has no lock", async () => {
  const store = stale();
  const { fetch, sent } = server(async ({ url, headers }) => {
    if (url.endsWith("/auth/refresh")) {
      await store.save({
        accessToken: "access-9",
        refreshToken: "refresh-9",
        tenantId: "t-1",
        renewAt: Number.MAX_VALUE,
      });
      return refusal(401, 16, "REFRESH_TOKEN_REUSED");
    }
    return headers["authorization"] === "Bearer access-9" ? json({ id: "p" }) : refusal(401, 16, "TOKEN_EXPIRED");
  });
  await new Plinth({ baseUrl: "", session: store, fetch }).pages.get({ pageId: "p" });
  assert.deepEqual(sent.map(who), ["access-0", undefined, "access-9"]);
});

test("a switch of the tenant goes on with the token that it answers, and keeps the refresh token", async () => {
  const { fetch, sent } = server(({ url }) =>
    url.endsWith("/auth/switch-tenant") ? json({ ...session(2), tenantId: "t-2" }) : json(session(1)),
  );
  const plinth = new Plinth({ baseUrl: "", fetch });
  await plinth.signIn(SIGN_IN);
  await plinth.switchTenant("t-2");
  assert.deepEqual([sent[1]?.body, who(sent[1] as (typeof sent)[0])], [{ tenantId: "t-2" }, "access-1"]);
  await plinth.pages.get({ pageId: "p" });
  assert.deepEqual([sent[2]?.url, who(sent[2] as (typeof sent)[0])], ["/api/v1/tenants/t-2/pages/p", "access-2"]);
});

test("signing out ends the session here even if the server cannot be told", async () => {
  const { fetch, sent } = server(issuer());
  const plinth = new Plinth({
    baseUrl: "",
    fetch: (...call) => (isAway ? Promise.reject(new TypeError()) : fetch(...call)),
  });
  let isAway = false;
  await plinth.signIn(SIGN_IN);
  await plinth.signOut();
  assert.deepEqual([sent.at(-1)?.url, who(sent.at(-1) as (typeof sent)[0])], ["/api/v1/auth/logout", "access-1"]);
  await plinth.signIn(SIGN_IN);
  isAway = true;
  await assert.rejects(plinth.signOut({ retries: 0 }), { reason: "CONNECTION_FAILED" });
  assert.equal(await plinth.session(), undefined);
});

test("what lies in the storage and is no session is none", () => {
  const storage = fakeStorage();
  storage.setItem("plinth.session", "{half");
  assert.equal(storageStore(storage).load(), undefined);
});

test("a client has one kind of credentials", async () => {
  assert.throws(() => new Plinth({ baseUrl: "", apiKey: "k", token: "t" }), /one of `apiKey`, `token` and `session`/);
  await assert.rejects(new Plinth({ baseUrl: "", apiKey: "k" }).signIn(SIGN_IN), /has an API key or a token/);
});

test("a function that gives tokens is asked again when one was refused", async () => {
  const { fetch, sent } = server(({ headers }) =>
    headers["authorization"] === "Bearer two" ? json({ id: "p" }) : refusal(401, 16, "TOKEN_EXPIRED"),
  );
  const tokens = ["one", "two"];
  const token = () => (tokens.length > 1 ? tokens.shift() : tokens[0]) as string;
  await new Plinth({ baseUrl: "", token, tenantId: "t", fetch }).pages.get({ pageId: "p" });
  assert.deepEqual(sent.map(who), ["one", "two"]);
});
