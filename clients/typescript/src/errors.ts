/** The one error of the client, made from google.rpc.Status or from what kept an answer from coming. */

import type { components } from "./generated/schema.js";

/** Why the client itself refuses: no answer came, none came in time, or it is not one of Plinth's. */
export type ClientReason = "CONNECTION_FAILED" | "TIMEOUT" | "UNEXPECTED_ANSWER";

/** Why a call was refused. A newer server may have further ones. */
export type Reason = components["schemas"]["Reason"] | ClientReason;

const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** A code of google.rpc.Code. */
export type Code = (typeof CODES)[number];

/** A field that breaks a rule. */
export interface Violation {
  /** Path of the field, as in the contract: `page.title`. */
  readonly field: string;
  readonly description: string;
  /** Id of the rule. */
  readonly rule: string;
}

/** google.rpc.Status as JSON. */
export interface Status {
  readonly code: number;
  readonly message: string;
  readonly details?: readonly Readonly<Record<string, unknown>>[];
}

export interface Facts {
  readonly status: number;
  readonly code: Code;
  readonly reason: Reason;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly violations?: readonly Violation[];
  readonly retryAfter?: number | undefined;
  readonly requestId?: string | undefined;
  readonly cause?: unknown;
}

/** Why a call failed. */
export class PlinthError extends Error {
  /** The HTTP status; 0 if no answer came. */
  readonly status: number;
  readonly code: Code;
  /** For programs: compare this. */
  readonly reason: Reason;
  /** What the reason says more; its keys are told with the reason. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Every field that breaks a rule, if that is the reason. */
  readonly violations: readonly Violation[];
  /** Seconds after which a further call may be accepted. */
  readonly retryAfter: number | undefined;
  /** What the log of the server knows the call by. */
  readonly requestId: string | undefined;

  constructor(message: string, facts: Facts) {
    super(message, facts.cause === undefined ? {} : { cause: facts.cause });
    this.name = "PlinthError";
    this.status = facts.status;
    this.code = facts.code;
    this.reason = facts.reason;
    this.metadata = facts.metadata ?? {};
    this.violations = facts.violations ?? [];
    this.retryAfter = facts.retryAfter;
    this.requestId = facts.requestId;
  }
}

/** The error that an answer holds. */
export async function errorOf(response: Response): Promise<PlinthError> {
  const text = await response.text();
  const headers = {
    retryAfter: secondsOf(response.headers.get("retry-after")),
    requestId: response.headers.get("x-request-id") ?? undefined,
  };
  const status = parsed(text);
  if (status === undefined) {
    const facts = { status: response.status, code: "UNKNOWN", reason: "UNEXPECTED_ANSWER", ...headers } as const;
    return new PlinthError(`The answer ${response.status} is not an error of Plinth.`, facts);
  }
  return statusError(status, response.status, headers);
}

/** The error that a google.rpc.Status tells of. `headers` count where the status does not say it. */
export function statusError(
  status: Status,
  httpStatus: number,
  headers: { retryAfter?: number | undefined; requestId?: string | undefined } = {},
): PlinthError {
  const details = status.details ?? [];
  const detail = (name: string) => details.find((each) => String(each["@type"]).endsWith(`google.rpc.${name}`)) ?? {};
  const violations = (detail("BadRequest").fieldViolations ?? []) as Record<string, string>[];
  return new PlinthError(status.message, {
    status: httpStatus,
    code: CODES[status.code] ?? "UNKNOWN",
    reason: (detail("ErrorInfo").reason ?? "UNEXPECTED_ANSWER") as Reason,
    metadata: (detail("ErrorInfo").metadata ?? {}) as Record<string, string>,
    violations: violations.map(({ field = "", description = "", reason: rule = "" }) => ({
      field,
      description,
      rule,
    })),
    retryAfter: secondsOf(detail("RetryInfo").retryDelay) ?? headers.retryAfter,
    requestId: (detail("RequestInfo").requestId as string | undefined) ?? headers.requestId,
  });
}

function parsed(text: string): Status | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && "code" in value && "message" in value
      ? (value as Status)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Seconds in `1.5s` or `2`; undefined for anything else, such as a date. */
function secondsOf(text: unknown): number | undefined {
  const found = typeof text === "string" ? /^(\d+(?:\.\d+)?)s?$/.exec(text) : null;
  return found === null ? undefined : Number(found[1]);
}
