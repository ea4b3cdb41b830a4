// For a page in a browser: calls Plinth with connect-web over stubs that protoc-gen-es wrote, and tells what the page sees.
import {Code, createClient} from "@connectrpc/connect";
import {createConnectTransport} from "@connectrpc/connect-web";
import {ErrorInfoSchema} from "./gen/google/rpc/error_details_pb.js";
import {PageService} from "./gen/plinth/sites/v1/page_pb.js";

export async function see(baseUrl, token, tenantId, useBinaryFormat) {
  const pages = createClient(PageService, createConnectTransport({baseUrl, useBinaryFormat}));
  const headers = {authorization: `Bearer ${token}`, "idempotency-key": `page-${useBinaryFormat}`};
  const creation = {tenantId, page: {slug: `page-${useBinaryFormat}`, title: "Zürich"}};
  let replayed, requestId;
  await pages.createPage(creation, {headers});
  const created = await pages.createPage(creation, {
    headers,
    timeoutMs: 30_000,
    onHeader: (told) => (requestId = told.get("x-request-id")),
    onTrailer: (told) => (replayed = told.get("idempotent-replay")),
  });
  try {
    await pages.getPage({tenantId, pageId: created.id});
  } catch (error) {
    const [info] = error.findDetails(ErrorInfoSchema);
    return {title: created.title, replayed, requestId, code: Code[error.code], reason: info.reason};
  }
  throw new Error("a stranger saw the page");
}
