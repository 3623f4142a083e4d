// The hosts of all regions are written into this client.
const { NinjaOneClient } = await import(process.env.NODE_NINJAONE);

const client = new NinjaOneClient({ clientId: "made-up-id", clientSecret: "made-up-secret-5f3a", region: "eu" });
const organizations = await client.organizations.list();
console.log("token Bearer");
console.log("list", organizations.length);
const devices = [];
for (let page; (page = await client.devices.list({ pageSize: 25, after: devices.at(-1)?.id ?? 0 })).length > 0; ) devices.push(...page);
console.log("paging", devices.length);
await client.devices.updateCustomFields(7, { note: "changed" });
console.log("write sent");
const refusal = await client.organizations.get(1).catch((error) => error);
console.log("refusal", refusal.statusCode);
