/** What a call is authorised by: an API key, tokens that somebody else keeps, or a session. */

export interface Credentials {
  /** Whether they are a user's, who can ask for tickets of streams. */
  readonly ofUser: boolean;
  /** The token or key of the next call; undefined if there is none. */
  token(): Promise<string | undefined>;
  /** Get another token because this one was refused. False if there is no other. Rejects if the session has ended. */
  renew(refused: string): Promise<boolean>;
  /** The tenant that calls are about if they name none. */
  tenantId(): Promise<string | undefined>;
}

/** A token that the application keeps fresh itself, or a function that gives the current one. */
export type TokenSource = string | (() => string | Promise<string>);

/** An API key. */
export function keyCredentials(key: string): Credentials {
  return {
    ofUser: false,
    token: () => Promise.resolve(key),
    renew: () => Promise.resolve(false),
    tenantId: () => Promise.resolve(undefined),
  };
}

/** Access tokens. A function is asked again when its token was refused. */
export function tokenCredentials(source: TokenSource): Credentials {
  const token = async () => (typeof source === "string" ? source : await source());
  return {
    ofUser: true,
    token,
    renew: async (refused) => typeof source === "function" && (await token()) !== refused,
    tenantId: () => Promise.resolve(undefined),
  };
}
