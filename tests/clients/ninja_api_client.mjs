// The host is written into this client: https://PREFIX.ninjarmm.com.
const { NinjaClient } = await import(process.env.NINJA_API);

const config = { prefix: "eu", clientId: "made-up-id", clientSecret: "made-up-secret-5f3a" };
const token = await new NinjaClient(config).auth.getTokenFromClientCredentials("monitoring management");
console.log("token", token.token_type);
const client = new NinjaClient({ ...config, sessionToken: token.access_token });
console.log("list", (await client.system.listOrganizations()).length);
const devices = [];
for (let page; (page = await client.system.listDevices({ pageSize: 25, after: devices.at(-1)?.id ?? 0 })).length > 0; ) devices.push(...page);
console.log("paging", devices.length);
// It reads an answer twice if there is no JSON in it, and says so by an error; the change was made all the same.
await client.devices.updateFieldValues(7, { note: "changed" }).catch(() => {});
console.log("write sent");
const refusal = await client.organization.get(1).catch((error) => error);
console.log("refusal", refusal.status, refusal.resultCode);
