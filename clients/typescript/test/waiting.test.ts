import assert from "node:assert/strict";
import { test } from "node:test";
import { delayAfter, raced, sleep } from "../src/waiting.js";

test("delays double up to a ceiling, and are a random share of that", () => {
  const longest = (failures: number) => delayAfter(failures, 0, 200, () => 1);
  assert.deepEqual([1, 2, 3, 4].map(longest), [200, 400, 800, 1600]);
  assert.equal(longest(40), 10_000);
  assert.equal(
    delayAfter(3, 0, 200, () => 0),
    0,
  );
  assert.equal(
    delayAfter(3, 0, 200, () => 0.5),
    400,
  );
});

test("what the server asks for is waited in any case", () => {
  assert.equal(
    delayAfter(1, 2.5, 200, () => 0),
    2500,
  );
  assert.equal(
    delayAfter(1, 2.5, 200, () => 1),
    2700,
  );
});

test("a wait ends with the signal, with its reason", async () => {
  const reason = new Error("enough");
  await assert.rejects(sleep(60_000, AbortSignal.abort(reason)), reason);
  const controller = new AbortController();
  const wait = sleep(60_000, controller.signal);
  controller.abort(reason);
  await assert.rejects(wait, reason);
  await sleep(0);
});

test("a promise that is settled before the signal is what it is", async () => {
  const { signal } = new AbortController();
  assert.equal(await raced(Promise.resolve(1), signal), 1);
  await assert.rejects(raced(Promise.reject(new Error("no")), signal), /no/);
});
