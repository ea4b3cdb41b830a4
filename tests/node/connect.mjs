// Calls Plinth with Connect's own clients, in Node and as in a browser, over stubs that protoc-gen-es wrote, and prints what
// they see.
import {Code, ConnectError, createClient} from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";
import {AuthService} from "./gen/plinth/identity/v1/auth_pb.js";
import {PageService} from "./gen/plinth/sites/v1/page_pb.js";
import {ErrorInfoSchema, RequestInfoSchema} from "./gen/google/rpc/error_details_pb.js";
import {HealthService} from "./gen/plinth/operations/v1/health_pb.js";

const [baseUrl, token, tenantId] = process.argv.slice(2);
const TRANSPORTS = {
  "connect-web": web.createConnectTransport({baseUrl}),
  "connect-web, binary": web.createConnectTransport({baseUrl, useBinaryFormat: true}),
  "connect-node, HTTP/1.1": node.createConnectTransport({baseUrl, httpVersion: "1.1"}),
  "connect-node, HTTP/2": node.createConnectTransport({baseUrl, httpVersion: "2"}),
  "connect-node, JSON": node.createConnectTransport({baseUrl, httpVersion: "2", useBinaryFormat: false}),
};

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    const [info] = error.findDetails(ErrorInfoSchema);
    const [request] = error.findDetails(RequestInfoSchema);
    return {
      code: Code[error.code],
      message: error.rawMessage,
      reason: info?.reason,
      metadata: info?.metadata,
      requestId: request?.requestId,
      sentId: error.metadata.get("x-request-id"),
    };
  }
  throw new Error("the call did not fail");
}

// An answer may be there within a millisecond, before the deadline. It is not each time.
async function repeated(call) {
  for (let times = 0; times < 100; times += 1) await call();
}

async function see(name, transport) {
  const pages = createClient(PageService, transport);
  const headers = {authorization: `Bearer ${token}`};
  const health = await createClient(HealthService, transport).getHealth({});
  const slug = `connect-${name.replace(/[^a-z0-9]+/gi, "-").toLowerCase()}`;
  const creation = {tenantId, page: {slug, title: "Zürich", description: "🏔"}};
  const key = {...headers, "idempotency-key": slug};
  let replayed;
  const created = await pages.createPage(creation, {headers: key});
  const again = await pages.createPage(creation, {headers: key, onTrailer: (told) => (replayed = told.get("idempotent-replay"))});
  const update = {tenantId, pageId: created.id, page: {title: "Basel", description: ""}, updateMask: {paths: ["title"]}};
  const updated = await pages.updatePage(update, {headers});
  const listed = await pages.listPages({tenantId, pageSize: 50}, {headers});
  return {
    status: health.status,
    title: created.title,
    sameAgain: again.id === created.id,
    replayed,
    updated: {title: updated.title, description: updated.description},
    listed: listed.pages.some((page) => page.id === created.id),
    stranger: await failure(pages.getPage({tenantId, pageId: created.id})),
    missing: await failure(pages.getPage({tenantId, pageId: "0190b3c8-0000-7000-8000-000000000000"}, {headers})),
    wrong: await failure(pages.createPage({tenantId, page: {slug: "Not A Slug"}}, {headers})),
    login: await failure(createClient(AuthService, transport).logIn({email: "nobody@example.com", password: "wrong wrong"})),
    late: await failure(repeated(() => pages.listPages({tenantId}, {headers, timeoutMs: 1}))),
    stream: await failure(pages.watchPages({tenantId}, {headers})[Symbol.asyncIterator]().next()),
  };
}

const seen = {};
for (const [name, transport] of Object.entries(TRANSPORTS)) seen[name] = await see(name, transport);
console.log(JSON.stringify(seen));
process.exit(0);
