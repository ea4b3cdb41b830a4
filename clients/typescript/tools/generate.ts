/**
 * Writes src/generated/ from the OpenAPI document.
 *
 * usage: node build/tools/generate.js [openapi.json]
 *
 * Without a file, the document comes from PLINTH_OPENAPI, another file, or from `plinth openapi` of this checkout.
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import openapiTS, { astToString, type OpenAPI3 } from "openapi-typescript";
import { type Document, operationsOf, withoutRepetition } from "./document.js";
import { withReadableEnums } from "./enums.js";
import { named } from "./names.js";
import { withPresence } from "./presence.js";
import { printResources, printTable } from "./print.js";
import { Table } from "./table.js";

const PACKAGE = new URL("../../", import.meta.url);
const PLINTH = fileURLToPath(new URL("../../.venv/bin/plinth", PACKAGE));
const LARGEST_DOCUMENT = 64 * 1024 * 1024;

function read(file: string | undefined): Document {
  if (file !== undefined) {
    return JSON.parse(readFileSync(file, "utf8")) as Document;
  }
  const options = { encoding: "utf8", maxBuffer: LARGEST_DOCUMENT } as const;
  return JSON.parse(execFileSync(PLINTH, ["openapi"], options)) as Document;
}

async function typesOf(document: Document): Promise<string> {
  const readable = withPresence(withReadableEnums(withoutRepetition(document)));
  return astToString(await openapiTS(readable as unknown as OpenAPI3));
}

const document = read(process.argv[2] ?? process.env.PLINTH_OPENAPI);
const operations = named(operationsOf(document));
const table = new Table(document);
const events = table.events(operations);
const generated = new URL("src/generated/", PACKAGE);
mkdirSync(generated, { recursive: true });
const facts = table.facts.bind(table);
writeFileSync(new URL("schema.ts", generated), await typesOf(document));
writeFileSync(
  new URL("table.ts", generated),
  printTable(operations, facts, () => table.shapes.found, events),
);
writeFileSync(new URL("resources.ts", generated), printResources(operations, facts, events));
