/** Which fields are always there: in an answer those without presence, in a request only those that it demands. */

import { bodyOf, type Document, referenceOf, refersTo, type Schema } from "./document.js";

/** Components of requests have this behind their names. */
export const INPUT = ".Input";

/** The same document with components of their own for requests; in all others, fields that always come are required. */
export function withPresence(document: Document): Document {
  const split = structuredClone(document);
  const schemas = split.components.schemas;
  const inputs: Record<string, Schema> = {};
  for (const operation of Object.values(split.paths).flatMap((verbs) => Object.values(verbs))) {
    const body = bodyOf(operation);
    if (body !== undefined) {
      Object.assign(body, asInput(merged(body), schemas, inputs));
    }
  }
  for (const [name, schema] of Object.entries(schemas)) {
    if (schema.properties !== undefined && name !== "Error") {
      schema.required = Object.entries(schema.properties)
        .filter(([, field]) => !field["x-optional"])
        .map(([key]) => key);
    }
  }
  Object.assign(schemas, inputs);
  return split;
}

/** `allOf: [resource, {required}]` in the form that openapi-typescript makes a type of. */
function merged(body: Schema): Schema {
  const required = body.allOf?.find((part) => part.$ref === undefined)?.required;
  if (body.allOf === undefined || required === undefined) {
    return body;
  }
  body.allOf = body.allOf.filter((part) => part.$ref !== undefined);
  body.required = required;
  return body;
}

/** The schema with every reference led to the component for requests, which is made if it is not there. */
function asInput(schema: Schema, schemas: Record<string, Schema>, inputs: Record<string, Schema>): Schema {
  const name = referenceOf(schema);
  if (name !== undefined) {
    const target = schemas[name];
    if (target?.properties === undefined) {
      return schema;
    }
    if (inputs[name + INPUT] === undefined) {
      // Entered first, since components may refer to themselves.
      inputs[name + INPUT] = {};
      inputs[name + INPUT] = asInput(structuredClone(target), schemas, inputs);
    }
    return { ...schema, $ref: refersTo(name + INPUT) };
  }
  const inner = (part: Schema): Schema => asInput(part, schemas, inputs);
  const entries = Object.entries(schema.properties ?? {}).map(([key, part]) => [key, inner(part)] as const);
  return {
    ...schema,
    ...(schema.properties && { properties: Object.fromEntries(entries) }),
    ...(schema.items && { items: inner(schema.items) }),
    ...(schema.additionalProperties && { additionalProperties: inner(schema.additionalProperties) }),
    ...(schema.allOf && { allOf: schema.allOf.map(inner) }),
  };
}
