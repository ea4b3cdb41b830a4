/**
 * A session: keeps its tokens, and refreshes them one at a time, across browser tabs too if they share a store.
 *
 * Refresh tokens are rotated, and one whose successor was used ends the session. So everything that changes the session
 * runs alone, and looks first whether somebody else has changed it meanwhile.
 */

import type { Credentials } from "./credentials.js";
import { PlinthError } from "./errors.js";
import type { components } from "./generated/schema.js";

/** What is kept of a session. */
export interface Session {
  readonly accessToken: string;
  readonly refreshToken: string;
  /** The tenant of the access token; empty if it has none. */
  readonly tenantId: string;
  /** When to refresh: Unix time in milliseconds. */
  readonly renewAt: number;
}

/** Where a session is kept. */
export interface SessionStore {
  load(): Session | undefined | Promise<Session | undefined>;
  /** Keeps the session, or forgets it if there is none. */
  save(session: Session | undefined): void | Promise<void>;
  /** Name of the Web Lock under which tabs that share the store change it. */
  readonly lock?: string;
}

type Answer = components["schemas"]["identity.Session"];

// Four fifths of the lifetime, so that a call never starts with a token that expires on its way.
const SHARE_OF_LIFETIME = 0.8;

/** Keeps a session in memory: it ends with the page. */
export function memoryStore(session?: Session): SessionStore {
  let kept = session;
  return {
    load: () => kept,
    save: (changed) => {
      kept = changed;
    },
  };
}

/** Keeps a session in `localStorage`, which every tab of the origin shares, and every script of it can read. */
export function storageStore(storage: Storage, key = "plinth.session"): SessionStore {
  return {
    lock: key,
    load: () => parsed(storage.getItem(key)),
    save: (session) => (session ? storage.setItem(key, JSON.stringify(session)) : storage.removeItem(key)),
  };
}

/** What another version of the page left there may be anything: without a session, somebody signs in again. */
function parsed(text: string | null): Session | undefined {
  try {
    const session = JSON.parse(text ?? "null") as Session | null;
    return session?.accessToken && session.refreshToken ? session : undefined;
  } catch {
    return undefined;
  }
}

/** What is kept of the answer to a sign-in, a refresh or a switch. */
export function sessionOf(answer: Answer, now = Date.now()): Session {
  return {
    accessToken: answer.accessToken,
    refreshToken: answer.refreshToken,
    tenantId: answer.tenantId,
    renewAt: now + answer.expiresIn * 1000 * SHARE_OF_LIFETIME,
  };
}

export class SessionKeeper implements Credentials {
  readonly ofUser = true;
  readonly #store: SessionStore;
  readonly #refresh: (refreshToken: string) => Promise<Answer>;
  readonly #ended: (error: PlinthError) => void;
  #renewal: Promise<boolean> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** `refresh` exchanges a refresh token; `ended` is told when the server has ended the session. */
  constructor(
    store: SessionStore,
    refresh: (refreshToken: string) => Promise<Answer>,
    ended: (error: PlinthError) => void,
  ) {
    this.#store = store;
    this.#refresh = refresh;
    this.#ended = ended;
  }

  async load(): Promise<Session | undefined> {
    return this.#store.load();
  }

  async token(): Promise<string | undefined> {
    const session = await this.#store.load();
    if (session !== undefined && Date.now() >= session.renewAt) {
      await this.renew(session.accessToken);
      return (await this.#store.load())?.accessToken;
    }
    return session?.accessToken;
  }

  async tenantId(): Promise<string | undefined> {
    return (await this.#store.load())?.tenantId || undefined;
  }

  /** Calls that meet the same refused token share one refresh. */
  renew(refused: string): Promise<boolean> {
    this.#renewal ??= this.#alone(() => this.#renewed(refused)).finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  /** Change the session while nothing else does. `change` gets the current one, and gives the next one. */
  change(change: (session: Session | undefined) => Promise<Session | undefined>): Promise<Session | undefined> {
    return this.#alone(async () => {
      const changed = await change(await this.#store.load());
      await this.#store.save(changed);
      return changed;
    });
  }

  async #renewed(refused: string): Promise<boolean> {
    const session = await this.#store.load();
    if (session === undefined || session.accessToken !== refused) {
      return session !== undefined;
    }
    try {
      await this.#store.save(sessionOf(await this.#refresh(session.refreshToken)));
      return true;
    } catch (error) {
      return this.#failed(error, session);
    }
  }

  /** The server refused a refresh token: either somebody without our lock used it before, or the session has ended. */
  async #failed(error: unknown, session: Session): Promise<boolean> {
    if (!(error instanceof PlinthError && error.code === "UNAUTHENTICATED")) {
      throw error;
    }
    const current = await this.#store.load();
    if (current !== undefined && current.refreshToken !== session.refreshToken) {
      return true;
    }
    await this.#store.save(undefined);
    this.#ended(error);
    throw error;
  }

  /** Run when everything before has ended: in this client, and under a Web Lock in all tabs that share the store. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const name = this.#store.lock;
    const locks = typeof navigator === "undefined" ? undefined : (navigator.locks as LockManager | undefined);
    const locked = () => (name && locks ? locks.request(name, work) : work()) as Promise<T>;
    const turn = this.#last.then(locked, locked);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
