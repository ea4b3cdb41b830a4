import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bound, type Document, operationsOf, type Operation, type Schema } from "../tools/document.js";
import { withReadableEnums } from "../tools/enums.js";
import { named } from "../tools/names.js";
import { withPresence } from "../tools/presence.js";
import { Table } from "../tools/table.js";

function operation(domain: string, id: string, more: Partial<Operation> = {}): Operation {
  const tag = `${domain}.${id.split(".")[0]}`;
  const base = {
    operationId: id,
    tags: [tag],
    summary: "",
    description: "",
    parameters: [],
    responses: {},
    security: [{}],
  };
  return { ...base, ...more };
}

function bound(domain: string, ...ids: string[]): Bound[] {
  return ids.map((id) => ({ verb: "GET", path: `/${id}`, operation: operation(domain, id) }));
}

function document(operations: Operation[], schemas: Record<string, Schema> = {}): Document {
  const paths = Object.fromEntries(operations.map((each) => [`/${each.operationId}`, { post: each }]));
  const key = { name: "Idempotency-Key", in: "header", schema: { type: "string" } };
  return { info: { version: "1" }, paths, components: { schemas, parameters: { "Idempotency-Key": key } } };
}

function namesOf(operations: Bound[]): string[] {
  return named(operations).map(({ group, method }) => `${group}.${method}`);
}

test("operations are named for their resource", () => {
  const pages = bound("sites", "PageService.ListPages", "PageService.GetPageBySlug", "PageService.BatchGetPages");
  assert.deepEqual(namesOf(pages), ["pages.list", "pages.getBySlug", "pages.batchGet"]);
  const stories = bound("sites", "StoryService.ListStories", "StoryService.UndeleteStory");
  assert.deepEqual(namesOf(stories), ["stories.list", "stories.undelete"]);
  assert.deepEqual(namesOf(bound("identity", "AuthService.LogIn")), ["auth.logIn"]);
  const audit = bound("audit", "AuditService.ListAuditEntries", "AuditService.ListEntries");
  assert.deepEqual(namesOf(audit), ["audit.listAuditEntries", "audit.listEntries"]);
  assert.deepEqual(namesOf(bound("x", "PageService.GetPagesize")), ["page.getPagesize"]);
});

test("groups of one name have their domain in front, and so have members of the client", () => {
  const tickets = [
    ...bound("crm", "TicketService.ListTickets"),
    ...bound("mail", "TicketService.GetTicket", "TicketService.ListTickets"),
  ];
  assert.deepEqual(namesOf(tickets), ["crmTickets.list", "mailTickets.get", "mailTickets.list"]);
  assert.deepEqual(namesOf(bound("crm", "EventService.ListEvents")), ["crmEvents.list"]);
});

test("further bindings of an RPC are left out", () => {
  const made = document([operation("a", "PageService.GetPage"), operation("a", "PageService.GetPage.1")]);
  assert.deepEqual(
    operationsOf(made).map(({ operation: { operationId } }) => operationId),
    ["PageService.GetPage"],
  );
});

const ENUM = { type: "string", enum: ["KIND_UNSPECIFIED", "KIND_ONE"], description: "- `KIND_ONE`: the first." };
const KIND = { $ref: "#/components/schemas/a.Kind" };
const THING: Schema = {
  type: "object",
  properties: {
    id: { type: "string" },
    kind: KIND,
    note: { type: "string", "x-optional": true },
    parent: { $ref: "#/components/schemas/a.Thing", "x-optional": true },
    byName: { type: "object", additionalProperties: { type: "array", items: KIND } },
    plain: { $ref: "#/components/schemas/a.Plain", "x-optional": true },
  },
};
const INPUT: Schema = {
  type: "object",
  additionalProperties: false,
  required: ["id"],
  properties: {
    id: { type: "string" },
    kind: { anyOf: [KIND, { type: "null" }] },
    parent: { anyOf: [{ $ref: "#/components/schemas/a.ThingInput" }, { type: "null" }] },
  },
};
const SCHEMAS: Record<string, Schema> = {
  "a.Kind": ENUM,
  "a.Thing": THING,
  "a.ThingInput": INPUT,
  "a.Plain": { type: "object", properties: { x: { type: "string" } } },
};
const REFERENCE = { $ref: "#/components/schemas/a.Thing" };
const CREATE = operation("a", "ThingService.CreateThing", {
  parameters: [{ $ref: "#/components/parameters/Idempotency-Key" }],
  requestBody: { content: { "application/json": { schema: { $ref: "#/components/schemas/a.ThingInput" } } } },
  responses: { "201": { content: { "application/json": { schema: REFERENCE } } } },
  "x-emits": "thing.created",
});

test("enums are spelled readably, and so is what is said of them", () => {
  const kind = withReadableEnums(document([CREATE], SCHEMAS)).components.schemas["a.Kind"];
  assert.deepEqual(kind, { type: "string", enum: ["unspecified", "one"], description: "- `one`: the first." });
});

test("an answer has every field without presence, and a request needs only what it has to have", () => {
  const { components } = withPresence(document([CREATE], SCHEMAS));
  assert.deepEqual(components.schemas["a.Thing"]?.required, ["id", "kind", "byName"]);
  assert.deepEqual(components.schemas["a.ThingInput"]?.required, ["id"]);
});

test("what takes something else than JSON is an upload", () => {
  const facts = (kind: string) => {
    const sends = { requestBody: { content: { [kind]: { schema: {} } } } };
    const made = document([operation("files", "FileService.PutFile", sends)]);
    const [put] = named(operationsOf(made));
    assert.ok(put);
    return new Table(made).facts(put);
  };
  assert.equal(facts("image/*").as, "upload");
  assert.equal(facts("application/json").as, undefined);
});

test("the table tells where enums are, through references, lists and maps", () => {
  const made = document([CREATE], SCHEMAS);
  const table = new Table(made);
  const operations = named(operationsOf(made));
  const [create] = operations;
  assert.ok(create);
  assert.deepEqual(table.facts(create), { writes: true, sends: "a.ThingInput", answers: "a.Thing" });
  const thing = { kind: ["KIND_"], parent: "a.Thing", byName: { values: ["KIND_"] } };
  const input = { kind: ["KIND_"], parent: "a.ThingInput" };
  assert.deepEqual(table.shapes.found, { "a.Thing": thing, "a.ThingInput": input });
  assert.deepEqual(table.events(operations), [{ type: "thing.created", component: "a.Thing", shaped: "a.Thing" }]);
});
