/** Which fields are always there: in an answer those without presence, in a request only those that it demands. */

import { bodyOf, type Document } from "./document.js";
import { references } from "./shapes.js";

/** The same document, where fields that answers always have are required in the components of answers. */
export function withPresence(document: Document): Document {
  const made = structuredClone(document);
  const sent = componentsOfRequests(made);
  for (const [name, schema] of Object.entries(made.components.schemas)) {
    if (schema.properties !== undefined && name !== "Error" && !sent.has(name)) {
      schema.required = Object.entries(schema.properties)
        .filter(([, field]) => !field["x-optional"])
        .map(([key]) => key);
    }
  }
  return made;
}

/** The components that requests have, however deep. The document has others for answers. */
function componentsOfRequests(document: Document): Set<string> {
  const operations = Object.values(document.paths).flatMap((verbs) => Object.values(verbs));
  const waiting = operations.flatMap((operation) => references(bodyOf(operation) ?? {}));
  const found = new Set<string>();
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (!found.has(name)) {
      found.add(name);
      waiting.push(...references(document.components.schemas[name] ?? {}));
    }
  }
  return found;
}
