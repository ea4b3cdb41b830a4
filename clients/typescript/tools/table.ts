/** What the client has to know of each operation while it runs, and where the enums are. */

import { answerOf, bodyOf, type Document, parametersOf, type Schema, successOf } from "./document.js";
import type { Named } from "./names.js";
import { type Shaped, Shapes } from "./shapes.js";

/** Facts of an operation beside its verb and path; each is left out where it does not hold. */
export interface Facts {
  /** The field of the answer with the items of a list. */
  items?: string;
  as?: "file" | "stream" | "upload";
  /** The field of an event with which the stream ends for good. */
  ends?: string;
  /** Anyone may call, without credentials. */
  open?: true;
  /** Takes an idempotency key. */
  writes?: true;
  sends?: Shaped;
  query?: Shaped;
  answers?: Shaped;
}

export interface Event {
  type: string;
  /** The component that an event carries; undefined if the document does not tell. */
  component: string | undefined;
  shaped: Shaped | undefined;
}

/** A stream of one resource that is over at some time; all others go on. */
const ENDS: Record<string, string> = { "OperationService.StreamOperation": "endTime" };

export class Table {
  readonly shapes: Shapes;
  readonly #document: Document;

  constructor(document: Document) {
    this.#document = document;
    this.shapes = new Shapes(document);
  }

  facts({ operation }: Named): Facts {
    const { operationId: id } = operation;
    const parameters = parametersOf(this.#document, operation);
    const content = successOf(operation);
    const body = bodyOf(operation);
    const query = parameters.filter((parameter) => parameter.in === "query");
    const fields = Object.fromEntries(query.map(({ name, schema }) => [name, schema]));
    return {
      ...optional(
        "items",
        itemsOf(
          this.#answer(operation),
          query.some(({ name }) => name === "pageToken"),
        ),
      ),
      ...optional("as", content["text/event-stream"] ? "stream" : content["*/*"] ? "file" : takesFile(operation)),
      ...optional("ends", ENDS[id]),
      ...optional("open", operation.security.length === 0 || undefined),
      ...optional("writes", parameters.some(({ name }) => name === "Idempotency-Key") || undefined),
      ...optional("sends", body && (this.shapes.of(body) ?? this.shapes.ofFields(id, body.properties ?? {}))),
      ...optional("query", this.shapes.ofFields(`${id}?`, fields)),
      ...optional("answers", this.shapes.of(content["application/json"]?.schema ?? {})),
    } as Facts;
  }

  /** The events that calls emit, by type. */
  events(operations: Named[]): Event[] {
    const found = new Map<string, Event>();
    for (const { operation } of operations) {
      const type = operation["x-emits"];
      if (type !== undefined) {
        const component = this.#subject(type, operation.tags[0] ?? "") ?? answerOf(operation);
        const shaped =
          component === undefined ? undefined : this.shapes.of({ $ref: `#/components/schemas/${component}` });
        found.set(type, { type, component, shaped });
      }
    }
    return [...found.values()].sort((one, other) => one.type.localeCompare(other.type));
  }

  /** The resource that events are named for: `api_key.created` of the domain `identity` has an `identity.ApiKey`. */
  #subject(type: string, tag: string): string | undefined {
    const words = (type.split(".")[0] ?? "").split("_");
    const name = words.map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join("");
    const component = `${tag.split(".")[0]}.${name}`;
    return component in this.#document.components.schemas ? component : undefined;
  }

  #answer(operation: Named["operation"]): Schema | undefined {
    return this.#document.components.schemas[answerOf(operation) ?? ""];
  }
}

function takesFile(operation: Named["operation"]): "upload" | undefined {
  return operation.requestBody !== undefined && bodyOf(operation) === undefined ? "upload" : undefined;
}

function itemsOf(answer: Schema | undefined, isPaged: boolean): string | undefined {
  const fields = Object.entries(answer?.properties ?? {});
  return isPaged ? fields.find(([, schema]) => schema.items !== undefined)?.[0] : undefined;
}

function optional<Key extends string>(key: Key, value: unknown): object {
  return value === undefined ? {} : { [key]: value };
}
