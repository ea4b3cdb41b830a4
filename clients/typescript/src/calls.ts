/** The types of calls, made from those of the OpenAPI document. */

import type { components, operations } from "./generated/schema.js";
import type { EventStream } from "./live.js";
import type { Paged } from "./paged.js";
import type { FileBody, Progress } from "./uploads.js";

/** A message of the contract, as answers have it: `Schema<"sites.Page">`. */
export type Schema<Name extends keyof components["schemas"]> = components["schemas"][Name];

export interface CallOptions {
  /** Ends the call; it then rejects with the reason of the signal. */
  readonly signal?: AbortSignal;
  /** Milliseconds for the whole call, further attempts included. */
  readonly timeout?: number;
  /** Milliseconds for one attempt. */
  readonly attemptTimeout?: number;
  /** Largest number of further attempts. */
  readonly retries?: number;
  /** Makes it safe to send the call again. Each call has one of its own; name one that shall outlive this page. */
  readonly idempotencyKey?: string;
  /** The ETag that was read: the call is refused if the resource has changed since. */
  readonly ifMatch?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Gets the response before its body is read, such as for its headers. */
  readonly onResponse?: (response: Response) => void;
}

type Id = keyof operations;

/** The type, or no properties if there is none. */
type OrNone<T> = [T] extends [never] ? object : T;

type Part<O, Key extends string> = O extends { parameters: { [K in Key]?: infer P } } ? OrNone<NonNullable<P>> : object;

type Json<T> = T extends { content: { "application/json": infer J } } ? J : never;

type Body<O> = O extends { requestBody: infer B }
  ? { body: Json<B> }
  : O extends { requestBody?: infer B }
    ? [NonNullable<B>] extends [never]
      ? object
      : { body?: Json<NonNullable<B>> }
    : object;

type Loosened<T, Keys extends string> = Omit<T, Keys> & Partial<Pick<T, Keys & keyof T>>;

/** Variables of the path and parameters of the query by name, and the JSON to send as `body`. */
type Request<I extends Id, Given extends string> = Loosened<Part<operations[I], "path">, Given> &
  Part<operations[I], "query"> &
  Body<operations[I]>;

/** The answer of an operation; undefined if it has none. */
export type Answer<I extends Id> = operations[I] extends { responses: infer R }
  ? [Json<R[keyof R]>] extends [never]
    ? undefined
    : Json<R[keyof R]>
  : never;

type Method<R, Options, Result> =
  Record<never, never> extends R
    ? (request?: R, options?: Options) => Result
    : (request: R, options?: Options) => Result;

/** An operation that answers JSON, or nothing. */
export type Call<I extends Id, Given extends string = never> = Method<
  Request<I, Given>,
  CallOptions,
  Promise<Answer<I>>
>;

/** An operation that answers a file: the response, whose body has not been read. */
export type FileCall<I extends Id, Given extends string = never> = Method<
  Request<I, Given>,
  CallOptions,
  Promise<Response>
>;

export interface UploadOptions extends CallOptions {
  /** What the file is; by default what a Blob says of itself. */
  readonly contentType?: string;
  /** Is told how many bytes were sent, and how many there are. */
  readonly onProgress?: Progress;
}

/** An operation that takes a file as `body`. The file is sent again from its beginning if a further attempt is made. */
export type UploadCall<I extends Id, Given extends string = never> = (
  request: Loosened<Part<operations[I], "path">, Given> & Part<operations[I], "query"> & { body: FileBody },
  options?: UploadOptions,
) => Promise<Answer<I>>;

type ItemOf<T, Items extends string> = T extends { [K in Items]?: readonly (infer Item)[] } ? Item : never;

/** A list: await it for one page, or iterate over all items. */
export type ListCall<I extends Id, Items extends string, Given extends string = never> = Method<
  Request<I, Given>,
  CallOptions,
  Paged<Answer<I>, ItemOf<Answer<I>, Items>>
>;

export interface StreamOptions {
  /** Ends the stream, and with it the loop over it. */
  readonly signal?: AbortSignal;
  /** Id of the last event that was received; the stream continues after it. */
  readonly lastEventId?: string;
  /** Milliseconds without a sign of life after which a connection counts as lost. Plinth sends one every 15 seconds. */
  readonly silence?: number;
  /** Is told when events come, and when the stream waits to connect again. */
  readonly onState?: (state: "open" | "waiting") => void;
}

/** A live stream: iterate over its events. */
export type StreamCall<I extends Id, Given extends string = never> = Method<
  Omit<Request<I, Given>, "lastEventId" | "ticket" | "access_token" | "accessToken">,
  StreamOptions,
  EventStream
>;
