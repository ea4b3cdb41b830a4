/** The OpenAPI document, as far as generation reads it. */

export interface Schema {
  $ref?: string;
  type?: string;
  enum?: string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema;
  allOf?: Schema[];
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
  parameters: Parameter[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>;
  security: unknown[];
  "x-emits"?: string;
}

export interface Document {
  info: { version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

export interface Bound {
  verb: string;
  path: string;
  operation: Operation;
}

const REFERENCE = "#/components/schemas/";
const JSON_TYPE = "application/json";

/** Every RPC once, by its first binding: later ones have a number behind their id, and mean the same. */
export function operationsOf(document: Document): Bound[] {
  return Object.entries(document.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs)
      .filter(([, operation]) => operation.operationId.split(".").length === 2)
      .map(([verb, operation]) => ({ verb: verb.toUpperCase(), path, operation })),
  );
}

/** The same document without further bindings and errors, which are alike everywhere: editors read the types faster. */
export function withoutRepetition(document: Document): Document {
  const slim: Document = { ...document, paths: {} };
  for (const { verb, path, operation } of operationsOf(document)) {
    const answers = Object.entries(operation.responses).filter(([status]) => status.startsWith("2"));
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
