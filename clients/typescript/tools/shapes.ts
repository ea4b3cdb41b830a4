/** Where enums are in the JSON of requests and answers, so that the client can spell them without guessing. */

import type { Document, Schema } from "./document.js";
import { partsOf, referenceOf, valuesOf } from "./document.js";
import { prefixOf } from "./enums.js";

/** What a value is: a shape by its name, an enum by the prefix of its values, or a map of these. Lists are as items. */
export type Shaped = string | [prefix: string] | { values: Shaped };

export type Shape = Record<string, Shaped>;

/** Finds shapes, each of which has an enum in it or below it. */
export class Shapes {
  readonly found: Record<string, Shape> = {};
  readonly #schemas: Record<string, Schema>;
  readonly #holds: Set<string>;

  constructor(document: Document) {
    this.#schemas = document.components.schemas;
    this.#holds = holders(this.#schemas);
  }

  /** What a value of this schema is; undefined if it holds no enum. */
  of(schema: Schema): Shaped | undefined {
    const name = referenceOf(schema);
    if (name !== undefined) {
      return this.#component(name);
    }
    if (schema.items !== undefined) {
      return this.of(schema.items);
    }
    const parts = [...(schema.allOf ?? []), ...(schema.anyOf ?? [])];
    const chosen = parts.map((part) => this.of(part)).find((shaped) => shaped !== undefined);
    const map = valuesOf(schema);
    const values = map && this.of(map);
    return chosen ?? (values && { values });
  }

  /** The shape of fields, under a name of its own; undefined if they hold no enum. */
  ofFields(name: string, fields: Record<string, Schema>): string | undefined {
    const shape = this.#fields(fields);
    if (Object.keys(shape).length === 0) {
      return undefined;
    }
    this.found[name] = shape;
    return name;
  }

  #component(name: string): Shaped | undefined {
    const schema = this.#schemas[name];
    if (schema === undefined || !this.#holds.has(name)) {
      return undefined;
    }
    const prefix = prefixOf(schema.enum ?? []);
    if (prefix !== undefined) {
      return [prefix];
    }
    if (this.found[name] === undefined) {
      // Entered first, since components may refer to themselves.
      this.found[name] = {};
      this.found[name] = this.#fields(schema.properties ?? {});
    }
    return name;
  }

  #fields(fields: Record<string, Schema>): Shape {
    const shape: Shape = {};
    for (const [field, schema] of Object.entries(fields)) {
      const shaped = this.of(schema);
      if (shaped !== undefined) {
        shape[field] = shaped;
      }
    }
    return shape;
  }
}

/** The components that are enums or hold one, however deep. */
function holders(schemas: Record<string, Schema>): Set<string> {
  const found = new Set(Object.keys(schemas).filter((name) => prefixOf(schemas[name]?.enum ?? []) !== undefined));
  let before = -1;
  while (found.size !== before) {
    before = found.size;
    for (const [name, schema] of Object.entries(schemas)) {
      if (references(schema).some((reference) => found.has(reference))) {
        found.add(name);
      }
    }
  }
  return found;
}

/** The components that a schema refers to. */
export function references(schema: Schema): string[] {
  const name = referenceOf(schema);
  return [...(name === undefined ? [] : [name]), ...partsOf(schema).flatMap(references)];
}
