import asyncio

import aiohttp

HOST = "https://eu.ninjarmm.com"
FORM = {"grant_type": "client_credentials", "client_id": "made-up-id", "client_secret": "made-up-secret-5f3a", "scope": "monitoring management"}


async def main():
    # Proxies of the environment are for those who ask for them: aiohttp's default is none.
    async with aiohttp.ClientSession(HOST, trust_env=True) as session:
        async with session.post("/ws/oauth/token", data=FORM) as answer:
            token = await answer.json()
        print("token", token["token_type"])
        session.headers["Authorization"] = "Bearer " + token["access_token"]
        async with session.get("/v2/organizations") as answer:
            print("list", len(await answer.json()))
        devices, after = [], 0
        while True:
            async with session.get("/v2/devices", params={"pageSize": 25, "after": after}) as answer:
                page = await answer.json()
            if not page:
                break
            devices += page
            after = devices[-1]["id"]
        print("paging", len(devices))
        form = aiohttp.FormData()
        form.add_field("files", b"notes " * 1000, filename="notes.txt")
        async with session.post("/v2/attachments/temp/upload", data=form) as answer:
            print("upload", answer.status)
        async with session.get("/v2/attachment/7", params={"size": 300000}) as answer:
            print("download", len(await answer.read()))
        async with session.patch("/v2/device/7/custom-fields", json={"note": "changed"}) as answer:
            print("write", answer.status)
        async with session.post("/v2/device/7/reboot/NORMAL", json={}) as answer:
            print("refusal", answer.status, (await answer.json(content_type=None))["resultCode"])


asyncio.run(main())
