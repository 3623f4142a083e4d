import axios from "axios";

const client = axios.create({ baseURL: "https://eu.ninjarmm.com" });
const form = new URLSearchParams({ grant_type: "client_credentials", client_id: "made-up-id", client_secret: "made-up-secret-5f3a", scope: "monitoring management" });
const token = (await client.post("/ws/oauth/token", form)).data;
console.log("token", token.token_type);
client.defaults.headers.common.Authorization = `Bearer ${token.access_token}`;
console.log("list", (await client.get("/v2/organizations")).data.length);
const devices = [];
for (let page; (page = (await client.get("/v2/devices", { params: { pageSize: 25, after: devices.at(-1)?.id ?? 0 } })).data).length > 0; ) devices.push(...page);
console.log("paging", devices.length);
const body = new FormData();
body.append("files", new Blob(["notes ".repeat(1000)], { type: "text/plain" }), "notes.txt");
console.log("upload", (await client.post("/v2/attachments/temp/upload", body)).status);
console.log("download", (await client.get("/v2/attachment/7", { params: { size: 300000 }, responseType: "arraybuffer" })).data.byteLength);
console.log("write", (await client.patch("/v2/device/7/custom-fields", { note: "changed" })).status);
const refusal = (await client.post("/v2/device/7/reboot/NORMAL", {}).catch((error) => error)).response;
console.log("refusal", refusal.status, refusal.data.resultCode);
