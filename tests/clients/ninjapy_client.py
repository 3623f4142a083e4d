from ninjapy import NinjaRMMClient
from ninjapy.exceptions import NinjaRMMError

HOST = "https://eu.ninjarmm.com"
client = NinjaRMMClient(
    token_url=HOST + "/ws/oauth/token",
    client_id="made-up-id",
    client_secret="made-up-secret-5f3a",
    scope="monitoring management",
    base_url=HOST,
)
organizations = client.get_organizations()
print("token Bearer")
print("list", len(list(organizations)))
devices, after = [], None
while page := client.get_devices(page_size=25, **({"after": after} if after else {})):
    devices += page
    after = devices[-1]["id"]
print("paging", len(devices))
client.update_device_custom_fields(7, {"note": "changed"})
print("write 204")
try:
    client.reboot_device(7, "NORMAL")
except NinjaRMMError as refusal:
    print("refusal", getattr(refusal, "status_code", None) or refusal)
