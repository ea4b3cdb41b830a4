/** Makes requests of calls: path, query, body and headers, and what becomes of the answer. */

import type { CallOptions, StreamOptions, UploadOptions } from "./calls.js";
import type { Credentials } from "./credentials.js";
import { readable, sendable } from "./enums.js";
import { PlinthError } from "./errors.js";
import { OPERATIONS } from "./generated/table.js";
import { type EventStream, follow } from "./live.js";
import type { Operation } from "./operations.js";
import { Paged } from "./paged.js";
import type { Limits, Request, Transport } from "./transport.js";
import { type FileBody, typeOf, UPLOAD_TIMEOUT } from "./uploads.js";

/** What a call is given: variables of the path and parameters of the query by name, and the JSON as `body`. */
export type Given = Readonly<Record<string, unknown>>;

export interface Defaults {
  readonly limits: Limits;
  readonly tenantId: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

type AnyCall = (given?: Given, options?: UploadOptions & StreamOptions) => unknown;

const TENANT = "tenantId";
const VARIABLE = /\{(\w+)\}/g;

export class Dispatcher {
  readonly #transport: Transport;
  readonly #credentials: Credentials;
  readonly #defaults: Defaults;

  constructor(transport: Transport, credentials: Credentials, defaults: Defaults) {
    this.#transport = transport;
    this.#credentials = credentials;
    this.#defaults = defaults;
  }

  /** The calls of every group, by name. */
  resources(): Record<string, Record<string, AnyCall>> {
    const call = (operation: Operation) => this.#callOf(operation);
    const groups = Object.entries(OPERATIONS).map(([group, operations]) => {
      const calls = Object.entries(operations).map(([name, operation]) => [name, call(operation)] as const);
      return [group, Object.fromEntries(calls)] as const;
    });
    return Object.fromEntries(groups);
  }

  /** Call an operation that answers JSON, or nothing. `credentials` are the client's unless others are given. */
  async call(operation: Operation, given: Given, options: UploadOptions, credentials?: Credentials): Promise<unknown> {
    const facts = operation[2];
    return this.#send(operation, given, options, credentials, async (response) => {
      options.onResponse?.(response);
      const text = await response.text();
      return text === "" ? undefined : readable(parsed(text, response.status), facts?.answers);
    });
  }

  /** Follow a stream. */
  stream(operation: Operation, given: Given, options: StreamOptions): EventStream {
    const connect = async (lastEventId: string | undefined, signal: AbortSignal) => {
      const ticket = this.#credentials.ofUser ? await this.#ticket(signal) : undefined;
      const where = { ...given, lastEventId, ticket };
      const credentials = ticket === undefined ? this.#credentials : null;
      // How often to try again is for the stream to say.
      return this.#send(operation, where, { signal, retries: 0 }, credentials, keepWhole);
    };
    return follow(connect, options, operation[2]?.ends);
  }

  #callOf(operation: Operation): AnyCall {
    const facts = operation[2];
    return (given = {}, options = {}) => {
      if (facts?.as === "stream") {
        return this.stream(operation, given, options);
      }
      if (facts?.as === "file") {
        return this.#send(operation, given, options, undefined, keepWhole);
      }
      if (facts?.items !== undefined) {
        const read = (pageToken: string | undefined) =>
          this.call(operation, pageToken === undefined ? given : { ...given, pageToken }, options);
        return new Paged(read, facts.items);
      }
      return this.call(operation, given, options);
    };
  }

  /** A ticket that opens one stream, so that no token stands in its URL. */
  async #ticket(signal: AbortSignal): Promise<string> {
    const operation = OPERATIONS["realtime"]?.["createTicket"] as Operation;
    const answer = (await this.call(operation, {}, { signal, retries: 0 })) as { ticket: string };
    return answer.ticket;
  }

  /** `credentials` are the client's if undefined, and none if null. */
  async #send<T>(
    operation: Operation,
    given: Given,
    options: UploadOptions,
    credentials: Credentials | null | undefined,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const [verb, , facts] = operation;
    const request: Request = {
      verb,
      path: await this.#pathOf(operation, given),
      headers: this.#headersOf(operation, given, options),
      body: bodyOf(operation, given),
      onProgress: options.onProgress,
      credentials: credentials === null || facts?.open ? undefined : (credentials ?? this.#credentials),
    };
    const usual = facts?.as === "upload" ? { timeout: UPLOAD_TIMEOUT, attemptTimeout: UPLOAD_TIMEOUT } : {};
    const { timeout, attemptTimeout, retries } = { ...this.#defaults.limits, ...usual, ...defined(options) };
    return this.#transport.send(request, { timeout, attemptTimeout, retries, signal: options.signal }, read);
  }

  async #pathOf([verb, path, facts]: Operation, given: Given): Promise<string> {
    const values: Record<string, unknown> = { ...given };
    const query: Record<string, unknown> = { ...given, body: undefined };
    // A tenant that is itself what the call is about has to be named: DELETE would meet the caller's own.
    if (path.includes(`{${TENANT}}/`) && values[TENANT] === undefined && path.startsWith("/api/v1/tenants/")) {
      values[TENANT] = this.#defaults.tenantId ?? (await this.#credentials.tenantId());
    }
    const filled = path.replace(VARIABLE, (_match, name: string) => {
      delete query[name];
      return segment(`${verb} ${path}`, name, values[name]);
    });
    const text = queryOf(sendable(query, facts?.query) as Record<string, unknown>);
    return text === "" ? filled : `${filled}?${text}`;
  }

  #headersOf([verb, , facts]: Operation, given: Given, options: UploadOptions): Record<string, string> {
    const file = facts?.as === "upload" ? (given.body as FileBody) : undefined;
    return {
      ...this.#defaults.headers,
      ...(sendsJson(verb, given) && { "content-type": "application/json" }),
      ...(file !== undefined && { "content-type": options.contentType ?? typeOf(file) }),
      // One for all attempts of a call, so that it is done once.
      ...(facts?.writes && { "idempotency-key": options.idempotencyKey ?? crypto.randomUUID() }),
      ...(options.ifMatch !== undefined && { "if-match": options.ifMatch }),
      ...options.headers,
    };
  }
}

const keepWhole = (response: Response): Promise<Response> => Promise.resolve(response);

function sendsJson(verb: string, given: Given): boolean {
  return given.body !== undefined || !["GET", "DELETE"].includes(verb);
}

function bodyOf([verb, , facts]: Operation, given: Given): string | FileBody | undefined {
  if (facts?.as === "upload") {
    return given.body as FileBody;
  }
  return sendsJson(verb, given) ? JSON.stringify(sendable(given.body ?? {}, facts?.sends)) : undefined;
}

/** A variable of a path. A dot segment would lead to another path. */
function segment(call: string, name: string, value: unknown): string {
  const text = typeof value === "string" || typeof value === "number" ? String(value) : "";
  if (text === "" || text === "." || text === "..") {
    throw new TypeError(`${call} needs \`${name}\`: a text that is neither empty nor a dot segment.`);
  }
  return encodeURIComponent(text);
}

function queryOf(query: Readonly<Record<string, unknown>>): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value])
      .filter((each) => each !== undefined && each !== null)
      .map((each) => [name, String(each)]),
  );
  return new URLSearchParams(pairs as [string, string][]).toString();
}

function parsed(text: string, status: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const facts = { status, code: "UNKNOWN", reason: "UNEXPECTED_ANSWER", cause } as const;
    throw new PlinthError(`The answer ${status} is not JSON.`, facts);
  }
}

/** Options that are set: undefined means the default. */
function defined(options: CallOptions): CallOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
