// Tries what a service does beside writing: lists, files, errors, enums, an aborted call. Prints what it saw as JSON.
import { Plinth, PlinthError } from "@plinth/client";

const { PLINTH_URL: baseUrl, PLINTH_KEY: apiKey, PLINTH_TENANT: tenantId } = process.env;
const plinth = new Plinth({ baseUrl, apiKey, tenantId });

const failure = async (call) => {
  try {
    await call;
    return "none";
  } catch (error) {
    return error instanceof PlinthError ? [error.status, error.code, error.reason] : String(error);
  }
};

const slugs = [];
for await (const page of plinth.pages.list({ pageSize: 3, orderBy: "slug" })) slugs.push(page.slug);
let requestId = "";
const onResponse = (response) => (requestId = response.headers.get("x-request-id"));
const first = await plinth.pages.getBySlug({ slug: slugs[0] }, { onResponse });
const file = await plinth.audit.exportEntries({ format: "jsonl" });
const overview = await plinth.audit.getSecurityOverview({ "range.period": "last_7_days", bucket: "day" });
const aborted = AbortSignal.abort(new Error("left the page"));
console.log(
  JSON.stringify({
    slugs,
    requestId,
    status: first.status,
    file: [file.headers.get("content-type"), (await file.text()).trim().split("\n").length > 0],
    states: [...new Set(overview.metrics.map((metric) => metric.state))],
    absent: await failure(plinth.pages.get({ pageId: "00000000-0000-7000-8000-000000000000" })),
    unknown: await failure(plinth.pages.list({ colour: "red" })),
    taken: await failure(plinth.pages.create({ body: { slug: slugs[0] } })),
    foreign: await failure(plinth.pages.list({ tenantId: "00000000-0000-7000-8000-000000000000" })),
    ticket: await failure(plinth.realtime.createTicket()),
    keyless: await failure(new Plinth({ baseUrl, token: "nonsense", tenantId }).pages.list()),
    nobody: await failure(new Plinth({ baseUrl: "http://127.0.0.1:9", apiKey, tenantId, retries: 1 }).pages.list()),
    aborted: await failure(plinth.pages.list({}, { signal: aborted })),
  }),
);
