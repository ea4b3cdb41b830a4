// Writes pages one after the other while somebody kills processes, and prints the ids in their order.
import { Plinth } from "@plinth/client";

const { PLINTH_URL: baseUrl, PLINTH_KEY: apiKey, PLINTH_TENANT: tenantId, COUNT: count } = process.env;
const plinth = new Plinth({ baseUrl, apiKey, tenantId, retries: 20 });
for (let number = 0; number < Number(count); number += 1) {
  const page = await plinth.pages.create({ body: { slug: `page-${number}`, title: `Page ${number}` } });
  console.log(page.id);
}
