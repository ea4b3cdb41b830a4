// Prints every event of the tenant's pages, until that of the page with the slug `last`.
import { Plinth } from "@plinth/client";

const { PLINTH_URL: baseUrl, PLINTH_KEY: apiKey, PLINTH_TENANT: tenantId } = process.env;
const plinth = new Plinth({ baseUrl, apiKey, tenantId });
const onState = (state) => console.error(state);
for await (const event of plinth.events(["page.*"], { onState })) {
  console.log(JSON.stringify([event.id, event.type, event.data.id]));
  if (event.data.slug === "last") break;
}
