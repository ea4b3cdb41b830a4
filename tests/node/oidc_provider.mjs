// A certified provider of OpenID Connect (panva's oidc-provider) on loopback: `node oidc_provider.mjs <redirect URL>`.
//
// Prints its issuer. Whoever signs in as `subject~address~verified` has that subject and address. It demands PKCE of
// everyone, and the secret of the client.
import http from "node:http";
import { Provider } from "oidc-provider";

const server = http.createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "plinth",
      client_secret: "a secret: with %20 signs & blanks",
      redirect_uris: [process.argv[2]],
      response_types: ["code"],
      grant_types: ["authorization_code"],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["given_name", "family_name"] },
  pkce: { required: () => true },
  cookies: { keys: ["tests alone"] },
  findAccount: (_, id) => {
    const [, email, verified] = id.split("~");
    const claims = { sub: id, email, email_verified: verified === "yes", given_name: "Ada", family_name: "Lovelace" };
    return { accountId: id, claims: () => claims };
  },
});
server.on("request", provider.callback());
// It ends with the tests, which hold the other end of its input.
process.stdin.on("end", () => process.exit()).resume();
console.log(issuer);
