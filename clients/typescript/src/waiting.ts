/** Waiting: how long before a further attempt, and how a wait ends early. */

import type { PlinthError, Reason } from "./errors.js";

const FIRST_DELAY = 200;
const LONGEST_DELAY = 10_000;

/** Refusals after which the same call may succeed. */
const PASSING: ReadonlySet<Reason> = new Set<Reason>([
  "RATE_LIMITED",
  "DEPENDENCY_UNAVAILABLE",
  "OVERLOADED",
  "DEADLINE_EXCEEDED",
  "CONFLICT",
  "IDEMPOTENT_CALL_RUNNING",
  "CONNECTION_FAILED",
  "TIMEOUT",
]);
const PASSING_STATUS: ReadonlySet<number> = new Set([502, 503, 504]);

/** Whether the same call may succeed later. */
export function isPassing(error: PlinthError): boolean {
  return PASSING.has(error.reason) || PASSING_STATUS.has(error.status);
}

/**
 * Milliseconds before the next attempt: what the server asks for, and on top a random share of a delay that doubles
 * with each failure (full jitter), so that clients that failed together do not come back together.
 */
export function delayAfter(failures: number, retryAfter = 0, first = FIRST_DELAY, random = Math.random): number {
  return retryAfter * 1000 + random() * Math.min(LONGEST_DELAY, first * 2 ** (failures - 1));
}

/** Wait; rejects with the signal's reason if it is aborted before. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  const timer: { id?: ReturnType<typeof setTimeout> } = {};
  const wait = new Promise<void>((resolve) => {
    timer.id = setTimeout(resolve, milliseconds);
  });
  return raced(wait, signal).finally(() => clearTimeout(timer.id));
}

/** The promise, unless the signal is aborted before: then it rejects with the signal's reason. */
export function raced<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) {
    return promise;
  }
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) {
      abort();
    }
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
