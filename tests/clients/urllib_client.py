import json
import urllib.error
import urllib.parse
import urllib.request

HOST = "https://eu.ninjarmm.com"
headers = {}


def call(path, data=None, method=None, kind="application/json"):
    request = urllib.request.Request(HOST + path, data=data, method=method, headers=headers)
    if data is not None:
        request.add_header("Content-Type", kind)
    with urllib.request.urlopen(request) as answer:
        return answer.status, answer.read()


form = {"grant_type": "client_credentials", "client_id": "made-up-id", "client_secret": "made-up-secret-5f3a", "scope": "monitoring management"}
form = urllib.parse.urlencode(form).encode()
token = json.loads(call("/ws/oauth/token", form, kind="application/x-www-form-urlencoded")[1])
print("token", token["token_type"])
headers["Authorization"] = "Bearer " + token["access_token"]
print("list", len(json.loads(call("/v2/organizations")[1])))
devices, after = [], 0
while page := json.loads(call(f"/v2/devices?pageSize=25&after={after}")[1]):
    devices += page
    after = devices[-1]["id"]
print("paging", len(devices))
part = b'--xyz\r\nContent-Disposition: form-data; name="files"; filename="notes.txt"\r\n\r\n' + b"notes " * 1000 + b"\r\n--xyz--\r\n"
print("upload", call("/v2/attachments/temp/upload", part, kind="multipart/form-data; boundary=xyz")[0])
print("download", len(call("/v2/attachment/7?size=300000")[1]))
print("write", call("/v2/device/7/custom-fields", b'{"note": "changed"}', "PATCH")[0])
try:
    call("/v2/device/7/reboot/NORMAL", b"{}")
except urllib.error.HTTPError as refusal:
    print("refusal", refusal.code, json.loads(refusal.read())["resultCode"])
