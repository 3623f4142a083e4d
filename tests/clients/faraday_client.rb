require "faraday"
require "json"
require "stringio"

HOST = "https://eu.ninjarmm.com"
client = Faraday.new(HOST) do |connection|
  connection.request :multipart
  connection.request :url_encoded
  connection.adapter :net_http
end
form = { grant_type: "client_credentials", client_id: "made-up-id", client_secret: "made-up-secret-5f3a", scope: "monitoring management" }
token = JSON.parse(client.post("/ws/oauth/token", form).body)
puts "token #{token["token_type"]}"
client.headers["Authorization"] = "Bearer #{token["access_token"]}"
puts "list #{JSON.parse(client.get("/v2/organizations").body).size}"
devices = []
loop do
  page = JSON.parse(client.get("/v2/devices", pageSize: 25, after: devices.last&.fetch("id") || 0).body)
  break if page.empty?

  devices.concat(page)
end
puts "paging #{devices.size}"
upload = { files: Faraday::UploadIO.new(StringIO.new("notes " * 1000), "text/plain", "notes.txt") }
puts "upload #{client.post("/v2/attachments/temp/upload", upload).status}"
puts "download #{client.get("/v2/attachment/7", size: 300_000).body.bytesize}"
json = { "Content-Type" => "application/json" }
puts "write #{client.patch("/v2/device/7/custom-fields", '{"note":"changed"}', json).status}"
refusal = client.post("/v2/device/7/reboot/NORMAL", "{}", json)
puts "refusal #{refusal.status} #{JSON.parse(refusal.body)["resultCode"]}"
