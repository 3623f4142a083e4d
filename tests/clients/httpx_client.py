import sys

import httpx

HOST = "https://eu.ninjarmm.com"
form = {"grant_type": "client_credentials", "client_id": "made-up-id", "client_secret": "made-up-secret-5f3a", "scope": "monitoring management"}
with httpx.Client(base_url=HOST, http2="http2" in sys.argv) as client:
    token = client.post("/ws/oauth/token", data=form).raise_for_status()
    print("token", token.json()["token_type"])
    client.headers["Authorization"] = "Bearer " + token.json()["access_token"]
    if "http2" in sys.argv and token.http_version != "HTTP/2":
        sys.exit(token.http_version)
    print("list", len(client.get("/v2/organizations").raise_for_status().json()))
    devices, after = [], 0
    while page := client.get("/v2/devices", params={"pageSize": 25, "after": after}).raise_for_status().json():
        devices += page
        after = devices[-1]["id"]
    print("paging", len(devices))
    print("upload", client.post("/v2/attachments/temp/upload", files={"files": ("notes.txt", b"notes " * 1000)}).status_code)
    with client.stream("GET", "/v2/attachment/7", params={"size": 300000}) as download:
        print("download", sum(len(part) for part in download.iter_bytes()))
    print("write", client.patch("/v2/device/7/custom-fields", json={"note": "changed"}).status_code)
    refusal = client.post("/v2/device/7/reboot/NORMAL", json={})
    print("refusal", refusal.status_code, refusal.json()["resultCode"])
