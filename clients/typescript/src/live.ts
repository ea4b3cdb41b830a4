/** Live events: follows a stream over any number of connections, loses no event and repeats none. */

import { readable } from "./enums.js";
import { PlinthError, type Status, statusError } from "./errors.js";
import { EVENT_SHAPES } from "./generated/table.js";
import type { EventData } from "./generated/resources.js";
import { type Frame, piecesOf } from "./sse.js";
import { delayAfter, isPassing, sleep } from "./waiting.js";
import type { StreamOptions } from "./calls.js";

/** An event as it comes. */
export interface AnyEvent {
  /** Where it stands in the log: continue after it with `lastEventId`. */
  readonly id: string;
  /** What happened: `page.published`. */
  readonly type: string;
  /** The resource right after the event, or right before its deletion. */
  readonly data: unknown;
}

/** The events of these types: `page.*` for all of a resource, `*` for all. Comparing `type` tells what `data` is. */
export type LiveEvent<Pattern extends string = "*"> = {
  [Type in keyof EventData]: { readonly id: string; readonly type: Type; readonly data: EventData[Type] };
}[Matching<Pattern>];

/** A type of events, all of a resource, or all. */
export type EventPattern = keyof EventData | `${FamilyOf<keyof EventData>}.*` | "*";

type FamilyOf<Type extends string> = Type extends `${infer Family}.${string}` ? Family : never;

type Matching<Pattern extends string> = Pattern extends "*"
  ? keyof EventData
  : Pattern extends `${infer Family}.*`
    ? Extract<keyof EventData, `${Family}.${string}`>
    : Extract<keyof EventData, Pattern>;

/** A stream of events, to be iterated over once. */
export type EventStream<Event = AnyEvent> = AsyncGenerator<Event, void, undefined>;

/** Opens a connection that continues after an event, and gives the response whose body is the stream. */
export type Connect = (lastEventId: string | undefined, signal: AbortSignal) => Promise<Response>;

// Events of the stream itself.
const OPEN = "stream.open";
const ERROR = "stream.error";
// Three signs of life.
const SILENCE = 45_000;
const FIRST_DELAY = 1000;

/**
 * The events, until the signal is aborted, or until one has a value in the field `ends`. A connection that ends or
 * falls silent is followed by another one, after a delay that grows with failures in a row. Rejects with what no
 * further attempt can mend: a session that has ended, a lost permission, or EVENT_UNKNOWN, after which the log has been
 * restored to an earlier state and what is shown has to be read again.
 */
export async function* follow(connect: Connect, options: StreamOptions, ends?: string): EventStream {
  const { signal, onState } = options;
  const place: Place = { last: options.lastEventId, firstDelay: FIRST_DELAY, failures: 0 };
  while (!isAborted(signal)) {
    try {
      for await (const event of connection(connect, options, place)) {
        yield event;
        if (ends !== undefined && (event.data as Record<string, unknown>)[ends]) {
          return;
        }
      }
    } catch (error) {
      if (isAborted(signal)) {
        return;
      }
      if (!(error instanceof PlinthError && canGoOn(error))) {
        throw error;
      }
      place.retryAfter = error.retryAfter;
    }
    onState?.("waiting");
    place.failures += 1;
    await sleep(delayAfter(place.failures, place.retryAfter, place.firstDelay), signal).catch(() => undefined);
    place.retryAfter = undefined;
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

interface Place {
  last: string | undefined;
  firstDelay: number;
  failures: number;
  retryAfter?: number | undefined;
}

/** The events of one connection. */
async function* connection(connect: Connect, options: StreamOptions, place: Place): EventStream {
  const watch = watchdog(options.signal, options.silence ?? SILENCE);
  try {
    const response = await connect(place.last, watch.signal);
    for await (const piece of piecesOf(response.body ?? new ReadableStream())) {
      watch.alive();
      if (piece.kind === "retry") {
        place.firstDelay = piece.milliseconds;
      } else if (piece.kind === "comment") {
        place.failures = 0;
      } else if (piece.frame.event === OPEN) {
        place.last = piece.frame.id ?? place.last;
        options.onState?.("open");
      } else if (piece.frame.event === ERROR) {
        throw ended(json(piece.frame.data) as Status);
      } else {
        place.last = piece.frame.id ?? place.last;
        place.failures = 0;
        // However long the reader takes over an event, the connection is not silent meanwhile.
        watch.end();
        yield eventOf(piece.frame);
        watch.alive();
      }
    }
  } catch (error) {
    throw error instanceof PlinthError ? error : lost(error);
  } finally {
    watch.end();
  }
}

function eventOf({ id, event: type, data }: Frame): AnyEvent {
  return { id: id ?? "", type, data: readable(json(data), EVENT_SHAPES[type] ?? familyShape(type)) };
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const facts = { status: 0, code: "UNKNOWN", reason: "UNEXPECTED_ANSWER", cause } as const;
    throw new PlinthError("The data of an event are not JSON.", facts);
  }
}

/** Events that no call emits, such as those of a worker, carry what the others of their resource carry. */
function familyShape(type: string): (typeof EVENT_SHAPES)[string] | undefined {
  const family = `${type.split(".")[0]}.`;
  const known = Object.keys(EVENT_SHAPES).find((each) => each.startsWith(family));
  return known === undefined ? undefined : EVENT_SHAPES[known];
}

/** The error with which the server has ended a stream. A token that expired is refreshed for the next connection. */
function ended(status: Status): PlinthError {
  const error = statusError(status, 0);
  return error.code === "UNAUTHENTICATED" ? lost(error) : error;
}

function lost(cause: unknown): PlinthError {
  const facts = { status: 0, code: "UNAVAILABLE", reason: "CONNECTION_FAILED", cause } as const;
  return new PlinthError("The connection of the stream was lost.", facts);
}

function canGoOn(error: PlinthError): boolean {
  return isPassing(error) || error.status === 429 || ["UNAVAILABLE", "ABORTED", "INTERNAL"].includes(error.code);
}

/** A signal that is aborted with the outer one, and when nobody has been alive for some milliseconds. */
function watchdog(outer: AbortSignal | undefined, silence: number) {
  const inner = new AbortController();
  const bark = () => inner.abort(lost(undefined));
  let timer = setTimeout(bark, silence);
  return {
    signal: outer === undefined ? inner.signal : AbortSignal.any([outer, inner.signal]),
    alive: () => {
      clearTimeout(timer);
      timer = setTimeout(bark, silence);
    },
    end: () => clearTimeout(timer),
  };
}
