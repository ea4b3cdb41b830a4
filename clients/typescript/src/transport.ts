/** Sends a request: with credentials, a deadline, and further attempts where they can do no harm. */

import type { Credentials } from "./credentials.js";
import { errorOf, PlinthError } from "./errors.js";
import { type FileBody, type Progress, sendFile } from "./uploads.js";
import { delayAfter, isPassing, raced, sleep } from "./waiting.js";

export interface Request {
  readonly verb: string;
  /** Path with its query, from `/api/v1` on. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | FileBody | undefined;
  /** Is told how much of the body was sent. */
  readonly onProgress?: Progress | undefined;
  /** Undefined for calls that need no credentials. */
  readonly credentials?: Credentials | undefined;
}

export interface Limits {
  /** Milliseconds for the whole call, further attempts included. */
  readonly timeout: number;
  /** Milliseconds for one attempt. The gateway of Plinth answers most calls within 15 seconds. */
  readonly attemptTimeout: number;
  /** Largest number of further attempts. */
  readonly retries: number;
  readonly signal?: AbortSignal | undefined;
}

interface Attempt<T> {
  readonly value?: T;
  readonly error?: PlinthError;
  readonly token: string | undefined;
}

export class Transport {
  readonly #baseUrl: string;
  readonly #fetch: typeof fetch;

  constructor(baseUrl: string, fetcher: typeof fetch) {
    this.#baseUrl = baseUrl.replace(/\/+$/, "");
    this.#fetch = fetcher;
  }

  /**
   * What `read` makes of a good answer. Every request is sent again as it is, so it has to be one that changes nothing,
   * or has an idempotency key. Rejects with PlinthError, or with the signal's reason.
   */
  async send<T>(request: Request, limits: Limits, read: (response: Response) => Promise<T>): Promise<T> {
    const end = Date.now() + limits.timeout;
    let failures = 0;
    let isRenewed = false;
    for (;;) {
      const { value, error, token } = await this.#attempt(request, limits, end, read);
      if (error === undefined) {
        return value as T;
      }
      if (error.status === 401 && token !== undefined && !isRenewed) {
        isRenewed = true;
        if (await raced(request.credentials?.renew(token) ?? Promise.resolve(false), limits.signal)) {
          continue;
        }
      }
      failures += 1;
      const delay = delayAfter(failures, error.retryAfter);
      if (failures > limits.retries || !isPassing(error) || Date.now() + delay >= end) {
        throw error;
      }
      await sleep(delay, limits.signal);
    }
  }

  async #attempt<T>(
    request: Request,
    limits: Limits,
    end: number,
    read: (response: Response) => Promise<T>,
  ): Promise<Attempt<T>> {
    const token = await raced(request.credentials?.token() ?? Promise.resolve(undefined), limits.signal);
    const late = new AbortController();
    const milliseconds = Math.max(0, Math.min(limits.attemptTimeout, end - Date.now()));
    const timer = setTimeout(() => late.abort(), milliseconds);
    try {
      const signal = limits.signal ? AbortSignal.any([limits.signal, late.signal]) : late.signal;
      const response = await this.#answer(request, init(request, token, signal));
      return response.ok ? { value: await read(response), token } : { error: await errorOf(response), token };
    } catch (error) {
      limits.signal?.throwIfAborted();
      return { error: unanswered(request, error, late.signal.aborted), token };
    } finally {
      // A file may take longer than an attempt: its bytes are read by whoever gets the response.
      clearTimeout(timer);
    }
  }

  #answer({ path, onProgress }: Request, sent: RequestInit): Promise<Response> {
    const url = this.#baseUrl + path;
    return onProgress === undefined ? this.#fetch(url, sent) : sendFile(this.#fetch, url, sent, onProgress);
  }
}

function init(request: Request, token: string | undefined, signal: AbortSignal): RequestInit {
  const headers = token === undefined ? request.headers : { ...request.headers, authorization: `Bearer ${token}` };
  const common = { method: request.verb, headers, signal, credentials: "omit" } as const;
  return request.body === undefined ? common : { ...common, body: request.body as BodyInit };
}

/** Names the path without its query, which may hold a ticket. */
function unanswered({ verb, path }: Request, cause: unknown, isLate: boolean): PlinthError {
  if (cause instanceof PlinthError) {
    return cause;
  }
  const call = `${verb} ${path.split("?")[0]}`;
  return isLate
    ? new PlinthError(`${call} was not answered in time.`, {
        status: 0,
        code: "DEADLINE_EXCEEDED",
        reason: "TIMEOUT",
      })
    : new PlinthError(`${call} got no answer.`, {
        status: 0,
        code: "UNAVAILABLE",
        reason: "CONNECTION_FAILED",
        cause,
      });
}
