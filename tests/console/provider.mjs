// A real OpenID provider for the tests. Arguments: port, redirect URI, JSON of the people by log-in
// name. It prints one line when it listens.
import Provider from "oidc-provider";

const [port, redirectUri, peopleText] = process.argv.slice(2);
const people = JSON.parse(peopleText);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "console",
      client_secret: "a secret of the console & its provider",
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  pkce: { required: () => true },
  claims: { openid: ["sub"], profile: ["name", "preferred_username", "groups"] },
  conformIdTokenClaims: false,
  cookies: { keys: ["tests"] },
  findAccount: (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, ...people[id] }) }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
