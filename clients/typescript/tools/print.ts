/** The generated sources as text. */

import type { Named } from "./names.js";
import type { Event, Facts } from "./table.js";
import type { Shape } from "./shapes.js";

const HEADER = "// Generated from the OpenAPI document by `npm run generate`.\n\n";
const TENANT_PATH = "/api/v1/tenants/{tenantId}/";

export function printTable(
  operations: Named[],
  facts: (operation: Named) => Facts,
  shapes: () => Record<string, Shape>,
  events: Event[],
): string {
  const groups = grouped(operations).map(([group, members]) => {
    const lines = members.map((member) => {
      const own = facts(member);
      const parts = [member.verb, member.path, ...(Object.keys(own).length > 0 ? [own] : [])];
      return `    ${member.method}: ${JSON.stringify(parts)},\n`;
    });
    return `  ${group}: {\n${lines.join("")}  },\n`;
  });
  const eventShapes = Object.fromEntries(events.flatMap(({ type, shaped }) => (shaped ? [[type, shaped]] : [])));
  return [
    HEADER,
    'import type { OperationTable, Shaped, Shape } from "../operations.js";\n\n',
    `export const OPERATIONS: OperationTable = {\n${groups.join("")}};\n\n`,
    `export const SHAPES: Record<string, Shape> = ${JSON.stringify(shapes(), null, 2)};\n\n`,
    `export const EVENT_SHAPES: Record<string, Shaped> = ${JSON.stringify(eventShapes, null, 2)};\n`,
  ].join("");
}

export function printResources(operations: Named[], facts: (operation: Named) => Facts, events: Event[]): string {
  const groups = grouped(operations).map(([group, members]) => {
    const lines = members.map(
      (member) => `${comment(member)}    ${member.method}: ${callType(member, facts(member))};\n`,
    );
    return `  readonly ${group}: {\n${lines.join("")}  };\n`;
  });
  const types = events.map(({ type, component }) => {
    return `  "${type}": ${component === undefined ? "unknown" : `components["schemas"]["${component}"]`};\n`;
  });
  return [
    HEADER,
    `import type { ${usedIn(groups).join(", ")} } from "../calls.js";\n`,
    'import type { components } from "./schema.js";\n\n',
    `/** Every operation, by resource. */\nexport interface Resources {\n${groups.join("")}}\n\n`,
    `/** What events carry, by their type. */\nexport interface EventData {\n${types.join("")}}\n`,
  ].join("");
}

const CALLS = ["Call", "FileCall", "ListCall", "StreamCall", "UploadCall"];

/** The types of calls that a text has, since the compiler refuses an import that nothing uses. */
function usedIn(groups: string[]): string[] {
  return CALLS.filter((name) => groups.some((group) => group.includes(`: ${name}<`)));
}

function callType({ operation, path }: Named, facts: Facts): string {
  const parts = [`"${operation.operationId}"`];
  const given = path.startsWith(TENANT_PATH) ? ['"tenantId"'] : [];
  if (facts.as === "stream") {
    return `StreamCall<${[...parts, ...given].join(", ")}>`;
  }
  if (facts.as === "file") {
    return `FileCall<${[...parts, ...given].join(", ")}>`;
  }
  if (facts.as === "upload") {
    return `UploadCall<${[...parts, ...given].join(", ")}>`;
  }
  if (facts.items !== undefined) {
    return `ListCall<${[...parts, `"${facts.items}"`, ...given].join(", ")}>`;
  }
  return `Call<${[...parts, ...given].join(", ")}>`;
}

function comment({ operation, verb, path }: Named): string {
  const text = `${operation.description}\n\n\`${verb} ${path}\``.replaceAll("*/", "*\\/");
  const lines = text.split("\n").map((line) => `     * ${line}`.trimEnd());
  return `    /**\n${lines.join("\n")}\n     */\n`;
}

function grouped(operations: Named[]): [string, Named[]][] {
  const groups = new Map<string, Named[]>();
  for (const operation of operations) {
    groups.set(operation.group, [...(groups.get(operation.group) ?? []), operation]);
  }
  return [...groups].sort(([one], [other]) => one.localeCompare(other));
}
