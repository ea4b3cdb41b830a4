/** The client. */

import type { CallOptions, Schema, StreamOptions } from "./calls.js";
import { type Credentials, keyCredentials, tokenCredentials, type TokenSource } from "./credentials.js";
import { Dispatcher } from "./dispatch.js";
import type { PlinthError } from "./errors.js";
import type { Resources } from "./generated/resources.js";
import { OPERATIONS } from "./generated/table.js";
import type { EventPattern, EventStream, LiveEvent } from "./live.js";
import type { Operation } from "./operations.js";
import { answerOfPasskey, createPasskey } from "./passkeys.js";
import { memoryStore, type Session, SessionKeeper, sessionOf, type SessionStore } from "./session.js";
import { Transport } from "./transport.js";

export interface PlinthOptions {
  /** Where Plinth is: `https://api.example`. Empty means the origin of the page. */
  readonly baseUrl: string;
  /** An API key. */
  readonly apiKey?: string;
  /** An access token that the application keeps fresh, or a function that gives the current one. */
  readonly token?: TokenSource;
  /** Where the session is kept. In memory by default; `storageStore(localStorage)` outlives the page. */
  readonly session?: SessionStore;
  /** The tenant that calls are about if they name none. That of the session by default. */
  readonly tenantId?: string;
  /** Milliseconds for a call, further attempts included. 60,000 by default. */
  readonly timeout?: number;
  /** Milliseconds for one attempt. 30,000 by default. */
  readonly attemptTimeout?: number;
  /** Largest number of further attempts. 3 by default. */
  readonly retries?: number;
  /** Headers of every call. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Is told when the server has ended the session: show the sign-in. */
  readonly onSessionEnd?: (error: PlinthError) => void;
  /** Sends the requests, instead of the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/** Who signs in. `tenant` is a subdomain; without it, the tenant of the last sign-in. */
export interface SignIn {
  readonly email: string;
  readonly password: string;
  readonly tenant?: string;
}

/** What proves who the user is. */
export type StepUp = { readonly password: string } | { readonly code: string } | { readonly passkey: true };

type Options = Schema<"identity.PasskeyOptions">;

export interface SubscribeOptions extends Omit<StreamOptions, "signal"> {
  /** Is told what has ended the subscription. Without it, the error is an unhandled rejection. */
  readonly onError?: (error: unknown) => void;
}

export interface Subscription {
  /** Resolves when the stream is open: what happens from then on is handled. Rejects if it ends before. */
  readonly opened: Promise<void>;
  readonly stop: () => void;
}

const TIMEOUT = 60_000;
const ATTEMPT_TIMEOUT = 30_000;
const RETRIES = 3;

// The resources are members of the client; their types come from the OpenAPI document.
export interface Plinth extends Resources {}

/** A client of Plinth. Without `apiKey` and `token` it has a session: sign in first. */
export class Plinth {
  readonly #dispatcher: Dispatcher;
  readonly #keeper: SessionKeeper | undefined;

  constructor(options: PlinthOptions) {
    const { apiKey, token } = options;
    if ([apiKey, token, options.session].filter((each) => each !== undefined).length > 1) {
      throw new TypeError("Give one of `apiKey`, `token` and `session`, not several.");
    }
    const usesSession = apiKey === undefined && token === undefined;
    this.#keeper = usesSession ? this.#keeperOf(options) : undefined;
    const fetcher: typeof fetch = options.fetch ?? ((...request) => globalThis.fetch(...request));
    const limits = {
      timeout: options.timeout ?? TIMEOUT,
      attemptTimeout: options.attemptTimeout ?? ATTEMPT_TIMEOUT,
      retries: options.retries ?? RETRIES,
    };
    const defaults = { limits, tenantId: options.tenantId, headers: options.headers ?? {} };
    this.#dispatcher = new Dispatcher(new Transport(options.baseUrl, fetcher), this.#credentials(options), defaults);
    Object.assign(this, this.#dispatcher.resources());
  }

  /**
   * Sign in, and keep the session. If the user has a second factor, the answer has no tokens but a `secondFactor`, and
   * nothing is kept: ask for the code, and go on with `completeSignIn`.
   */
  async signIn(who: SignIn, options: CallOptions = {}): Promise<Schema<"identity.Session">> {
    return this.#changed(() => this.#auth("logIn", who, options, undefined));
  }

  /** Go on with the `secondFactor.challenge` of a sign-in, and a code of the authenticator app or a recovery code. */
  async completeSignIn(
    challenge: string,
    code: string,
    options: CallOptions = {},
  ): Promise<Schema<"identity.Session">> {
    return this.#changed(() => this.#auth("completeLogIn", { challenge, code }, options, undefined));
  }

  /** Sign in with a passkey of this browser, and keep the session. Rejects with a DOMException if the user declines. */
  async signInWithPasskey(tenant = "", options: CallOptions = {}): Promise<Schema<"identity.Session">> {
    const credential = await this.#passkeyAnswer(options);
    const operation = operationOf("passkey", "logInWith");
    return this.#changed(() => this.#auth(operation, { credential, tenant }, options, undefined));
  }

  /** Make a passkey of the signed-in user in this browser. Rejects with a DOMException if the user declines. */
  async registerPasskey(name = "", options: CallOptions = {}): Promise<Schema<"identity.Passkey">> {
    const started = await this.#passkey<Options>("startRegistration", {}, options);
    const credential = await createPasskey(started.options ?? {});
    return this.#passkey("register", { body: { credential, name } }, options);
  }

  /**
   * Prove again who the user is, where a call was refused with STEP_UP_REQUIRED: with the password, a code of the second
   * factor, or a passkey of this browser.
   */
  async stepUp(proof: StepUp, options: CallOptions = {}): Promise<Schema<"identity.Session">> {
    const body = "passkey" in proof ? { passkey: await this.#passkeyAnswer(options) } : proof;
    await this.#session.token();
    return this.#changed((session) => this.#auth("stepUp", body, options, session?.accessToken));
  }

  /** Go on in another tenant of the user. */
  async switchTenant(tenantId: string, options: CallOptions = {}): Promise<Schema<"identity.Session">> {
    await this.#session.token();
    return this.#changed((session) => this.#auth("switchTenant", { tenantId }, options, session?.accessToken));
  }

  /** End the session, and forget it even if the server cannot be told. */
  async signOut(options: CallOptions = {}): Promise<void> {
    const keeper = this.#session;
    await keeper.token().catch(() => undefined);
    let last: Session | undefined;
    await keeper.change(async (session) => {
      last = session;
      return undefined;
    });
    if (last !== undefined) {
      await this.#auth("logOut", {}, options, (last as Session).accessToken);
    }
  }

  /** The session that is kept, if there is one. */
  async session(): Promise<Session | undefined> {
    return this.#session.load();
  }

  /**
   * The events of the tenant as they happen, those of `types` or all: `for await (const event of plinth.events(...))`.
   * Connects again whenever the stream ends, and continues where it was.
   */
  events<Pattern extends EventPattern = "*">(
    types: readonly Pattern[] = [],
    options: StreamOptions = {},
  ): EventStream<LiveEvent<Pattern>> {
    const operation = operationOf("realtime", "streamEvents");
    const given = types.length === 0 ? {} : { types: types.join(",") };
    return this.#dispatcher.stream(operation, given, options) as unknown as EventStream<LiveEvent<Pattern>>;
  }

  /** Call `handle` with each event, one after the other, until it is stopped. */
  subscribe<Pattern extends EventPattern = "*">(
    types: readonly Pattern[],
    handle: (event: LiveEvent<Pattern>) => void | Promise<void>,
    { onError, onState, ...options }: SubscribeOptions = {},
  ): Subscription {
    const end = new AbortController();
    let done: Promise<void> = Promise.resolve();
    const opened = new Promise<void>((resolve, reject) => {
      const told = (state: "open" | "waiting") => {
        onState?.(state);
        if (state === "open") {
          resolve();
        }
      };
      done = this.#handled(this.events(types, { ...options, signal: end.signal, onState: told }), handle, end.signal);
      done.then(() => reject(new Error("The subscription was stopped.")), reject);
    });
    // Whoever does not wait for it need not handle it.
    opened.catch(() => undefined);
    if (onError !== undefined) {
      done.catch(onError);
    }
    return { opened, stop: () => end.abort() };
  }

  async #handled<Event>(
    events: EventStream<Event>,
    handle: (event: Event) => void | Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    for await (const event of events) {
      if (signal.aborted) {
        return;
      }
      await handle(event);
    }
  }

  get #session(): SessionKeeper {
    if (this.#keeper === undefined) {
      throw new TypeError("This client has an API key or a token, and no session.");
    }
    return this.#keeper;
  }

  #credentials({ apiKey, token }: PlinthOptions): Credentials {
    if (apiKey !== undefined) {
      return keyCredentials(apiKey);
    }
    return token === undefined ? this.#session : tokenCredentials(token);
  }

  #keeperOf(options: PlinthOptions): SessionKeeper {
    const refresh = (refreshToken: string) => this.#auth("refreshToken", { refreshToken }, {}, undefined);
    const ended = (error: PlinthError) => options.onSessionEnd?.(error);
    return new SessionKeeper(options.session ?? memoryStore(), refresh, ended);
  }

  /** The answer with which the session changes. */
  async #changed(
    call: (session: Session | undefined) => Promise<Schema<"identity.Session">>,
  ): Promise<Schema<"identity.Session">> {
    let answer: Schema<"identity.Session"> | undefined;
    await this.#session.change(async (session) => {
      answer = await call(session);
      return answer.accessToken ? sessionOf(answer) : session;
    });
    return answer as Schema<"identity.Session">;
  }

  /** Call an operation that changes the session. It must not refresh the session, which nobody else may change now. */
  async #auth(name: string | Operation, body: object, options: CallOptions, accessToken: string | undefined) {
    const credentials = accessToken === undefined ? undefined : tokenCredentials(accessToken);
    const operation = typeof name === "string" ? operationOf("auth", name) : name;
    const answer = this.#dispatcher.call(operation, { body }, options, credentials);
    return (await answer) as Schema<"identity.Session">;
  }

  async #passkey<Answer>(
    name: string,
    given: Readonly<Record<string, unknown>>,
    options: CallOptions,
  ): Promise<Answer> {
    return (await this.#dispatcher.call(operationOf("passkey", name), given, options)) as Answer;
  }

  async #passkeyAnswer(options: CallOptions): Promise<object> {
    const started = await this.#passkey<Options>("startLogIn", {}, options);
    return answerOfPasskey(started.options ?? {});
  }
}

function operationOf(group: string, name: string): Operation {
  return OPERATIONS[group]?.[name] as Operation;
}
