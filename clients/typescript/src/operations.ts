/** The form of the generated table: what the client has to know of an operation while it runs. */

/** What a value is: a shape by its name, an enum by the prefix of its values, or a map of these. Lists are as items. */
export type Shaped = string | readonly [prefix: string] | { readonly values: Shaped };

/** The fields of an object that are enums or hold one. */
export type Shape = Readonly<Record<string, Shaped>>;

export interface Facts {
  /** The field of the answer with the items of a list. */
  readonly items?: string;
  /** What a call gives, or takes, if it is not JSON. */
  readonly as?: "file" | "stream" | "upload";
  /** The field of an event with which a stream ends for good. */
  readonly ends?: string;
  /** Anyone may call, without credentials. */
  readonly open?: true;
  /** Takes an idempotency key. */
  readonly writes?: true;
  readonly sends?: Shaped;
  readonly query?: Shaped;
  readonly answers?: Shaped;
}

export type Operation = readonly [verb: string, path: string, facts?: Facts];

/** Groups of operations by name, and in each the operations by name. */
export type OperationTable = Readonly<Record<string, Readonly<Record<string, Operation>>>>;
