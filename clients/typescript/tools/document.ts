/** The OpenAPI document, as far as generation reads it. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  allOf?: Schema[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  description?: string;
  /** Whether an answer leaves the field out while it is not set. */
  "x-optional"?: boolean;
}

export interface Parameter {
  name: string;
  in: string;
  schema: Schema;
}

export interface Operation {
  operationId: string;
  tags: string[];
  summary: string;
  description: string;
  parameters: (Parameter | { $ref: string })[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { content?: Record<string, { schema: Schema }>; headers?: unknown }>;
  security: unknown[];
  "x-emits"?: string;
}

export interface Document {
  info: { version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema>; parameters?: Record<string, Parameter> };
}

export interface Bound {
  verb: string;
  path: string;
  operation: Operation;
}

const REFERENCE = "#/components/schemas/";
const JSON_TYPE = "application/json";
const ANY_JSON = "FreeForm.Value";

/** Every RPC once, by its first binding: later ones have a number behind their id, and mean the same. */
export function operationsOf(document: Document): Bound[] {
  return Object.entries(document.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs)
      .filter(([, operation]) => operation.operationId.split(".").length === 2)
      .map(([verb, operation]) => ({ verb: verb.toUpperCase(), path, operation })),
  );
}

/** The same document without further bindings, headers and errors, which are alike everywhere: editors are faster. */
export function withoutRepetition(document: Document): Document {
  const { schemas, parameters } = document.components;
  // TypeScript takes no property for a type that refers to itself, as the values of free-form JSON do.
  const plain = ANY_JSON in schemas ? { ...schemas, [ANY_JSON]: {} } : schemas;
  const slim: Document = { ...document, paths: {}, components: { schemas: plain, ...(parameters && { parameters }) } };
  for (const { verb, path, operation } of operationsOf(document)) {
    const answers = Object.entries(operation.responses)
      .filter(([status]) => status.startsWith("2"))
      .map(([status, { headers: _, ...answer }]) => [status, answer]);
    slim.paths[path] = {
      ...slim.paths[path],
      [verb.toLowerCase()]: { ...operation, description: "", responses: Object.fromEntries(answers) },
    };
  }
  return slim;
}

/** The name of the component that a schema refers to. */
export function referenceOf(schema: Schema | undefined): string | undefined {
  return schema?.$ref?.slice(REFERENCE.length);
}

export function refersTo(name: string): string {
  return REFERENCE + name;
}

/** The parameters of an operation, those that several share included. */
export function parametersOf(document: Document, operation: Operation): Parameter[] {
  const shared = document.components.parameters ?? {};
  return operation.parameters
    .map((each) => ("$ref" in each ? shared[nameIn(each.$ref)] : each))
    .filter((each) => !!each);
}

function nameIn(reference: string): string {
  return reference.slice(reference.lastIndexOf("/") + 1);
}

/** The schemas in a schema, but for those of components that it refers to. */
export function partsOf(schema: Schema): Schema[] {
  return [
    ...Object.values(schema.properties ?? {}),
    ...[schema.items, valuesOf(schema)].filter((each) => each !== undefined),
    ...[schema.allOf, schema.anyOf, schema.oneOf].flatMap((each) => each ?? []),
  ];
}

/** The schema of the values of a map; undefined for other objects. */
export function valuesOf(schema: Schema): Schema | undefined {
  return typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined;
}

/** The schema of the JSON that an operation takes, if it takes some. */
export function bodyOf(operation: Operation): Schema | undefined {
  return operation.requestBody?.content[JSON_TYPE]?.schema;
}

/** Content of the answer to a call that succeeds, by its type; empty for an answer without content. */
export function successOf(operation: Operation): Record<string, { schema: Schema }> {
  return Object.entries(operation.responses).find(([status]) => status.startsWith("2"))?.[1].content ?? {};
}

/** The component that a successful call answers, if it answers JSON. */
export function answerOf(operation: Operation): string | undefined {
  return referenceOf(successOf(operation)[JSON_TYPE]?.schema);
}
