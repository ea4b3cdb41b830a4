/**
 * The spelling of enums. Plinth answers `STATUS_PUBLISHED`; in the client the value is `published`. Nothing else in the
 * client knows of the two spellings.
 */

import { SHAPES } from "./generated/table.js";
import type { Shaped } from "./operations.js";

type Spell = (text: string, prefix: string) => string;

/** A value as the client has it. A value that this version does not know is spelled in the same way. */
export function readable(value: unknown, shaped: Shaped | undefined): unknown {
  return spelled(value, shaped, (text, prefix) =>
    text.startsWith(prefix) ? text.slice(prefix.length).toLowerCase() : text,
  );
}

/** A value as it is sent. Both spellings are taken. */
export function sendable(value: unknown, shaped: Shaped | undefined): unknown {
  return spelled(value, shaped, (text, prefix) => (text.startsWith(prefix) ? text : prefix + text.toUpperCase()));
}

/** The value with its enums spelled anew. Only what holds enums is copied. */
function spelled(value: unknown, shaped: Shaped | undefined, spell: Spell): unknown {
  if (shaped === undefined || value === null || value === undefined) {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map((item) => spelled(item, shaped, spell));
  }
  if (typeof shaped === "object" && "length" in shaped) {
    return typeof value === "string" ? spell(value, shaped[0]) : value;
  }
  return typeof value === "object" ? spelledFields(value as Record<string, unknown>, shaped, spell) : value;
}

function spelledFields(
  value: Record<string, unknown>,
  shaped: string | { readonly values: Shaped },
  spell: Spell,
): Record<string, unknown> {
  const copy = { ...value };
  const shape = typeof shaped === "string" ? SHAPES[shaped] : undefined;
  for (const key of Object.keys(shape ?? copy)) {
    if (key in copy) {
      copy[key] = spelled(copy[key], typeof shaped === "string" ? shape?.[key] : shaped.values, spell);
    }
  }
  return copy;
}
