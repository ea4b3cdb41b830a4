/** Enum values as the client spells them: `STATUS_PUBLISHED` is `published`. */

import type { Document } from "./document.js";

const UNSPECIFIED = "UNSPECIFIED";

/** What stands in front of every value of an enum: `STATUS_`. Undefined for texts that only have some values. */
export function prefixOf(values: string[]): string | undefined {
  const first = values[0] ?? "";
  return first.endsWith(UNSPECIFIED) ? first.slice(0, -UNSPECIFIED.length) : undefined;
}

/** The same document with the client's spelling, in schemas and in what is said of the values. */
export function withReadableEnums(document: Document): Document {
  const readable = structuredClone(document);
  for (const schema of Object.values(readable.components.schemas)) {
    const values = schema.enum ?? [];
    const prefix = prefixOf(values);
    if (prefix !== undefined) {
      schema.enum = values.map((value) => spelled(value, prefix));
      for (const value of values) {
        schema.description = schema.description?.replaceAll(`\`${value}\``, `\`${spelled(value, prefix)}\``) ?? "";
      }
    }
  }
  return readable;
}

function spelled(value: string, prefix: string): string {
  return value.slice(prefix.length).toLowerCase();
}
