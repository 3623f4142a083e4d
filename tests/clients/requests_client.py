import requests

HOST = "https://eu.ninjarmm.com"
session = requests.Session()
form = {"grant_type": "client_credentials", "client_id": "made-up-id", "client_secret": "made-up-secret-5f3a", "scope": "monitoring management"}
token = session.post(HOST + "/ws/oauth/token", data=form)
token.raise_for_status()
print("token", token.json()["token_type"])
session.headers["Authorization"] = "Bearer " + token.json()["access_token"]

organizations = session.get(HOST + "/v2/organizations")
organizations.raise_for_status()
print("list", len(organizations.json()))

devices, after = [], 0
while True:
    page = session.get(HOST + "/v2/devices", params={"pageSize": 25, "after": after})
    page.raise_for_status()
    if not page.json():
        break
    devices += page.json()
    after = devices[-1]["id"]
print("paging", len(devices))

upload = session.post(HOST + "/v2/attachments/temp/upload", files={"files": ("notes.txt", b"notes " * 1000, "text/plain")})
print("upload", upload.status_code)
print("download", len(session.get(HOST + "/v2/attachment/7", params={"size": 300000}).content))
print("write", session.patch(HOST + "/v2/device/7/custom-fields", json={"note": "changed"}).status_code)
refusal = session.post(HOST + "/v2/device/7/reboot/NORMAL", json={})
print("refusal", refusal.status_code, refusal.json()["resultCode"])
