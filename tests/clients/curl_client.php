<?php
const HOST = "https://eu.ninjarmm.com";
$headers = [];

function call(string $path, mixed $body = null, string $method = "GET", array $more = []): array
{
    global $headers;
    $curl = curl_init(HOST . $path);
    curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_CUSTOMREQUEST => $method, CURLOPT_HTTPHEADER => [...$headers, ...$more]]);
    if ($body !== null) {
        curl_setopt($curl, CURLOPT_POSTFIELDS, $body);
    }
    $answer = curl_exec($curl);
    if ($answer === false) {
        echo "failed: ", curl_error($curl), "\n";
        exit(1);
    }
    return [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), $answer];
}

$form = ["grant_type" => "client_credentials", "client_id" => "made-up-id", "client_secret" => "made-up-secret-5f3a", "scope" => "monitoring management"];
$token = json_decode(call("/ws/oauth/token", http_build_query($form), "POST")[1], true);
echo "token ", $token["token_type"], "\n";
$headers = ["Authorization: Bearer " . $token["access_token"]];
echo "list ", count(json_decode(call("/v2/organizations")[1])), "\n";
$devices = [];
$after = 0;
while ($page = json_decode(call("/v2/devices?pageSize=25&after=$after")[1], true)) {
    $devices = [...$devices, ...$page];
    $after = end($devices)["id"];
}
echo "paging ", count($devices), "\n";
file_put_contents("notes.txt", str_repeat("notes ", 1000));
echo "upload ", call("/v2/attachments/temp/upload", ["files" => new CURLFile("notes.txt")], "POST")[0], "\n";
echo "download ", strlen(call("/v2/attachment/7?size=300000")[1]), "\n";
$json = ["Content-Type: application/json"];
echo "write ", call("/v2/device/7/custom-fields", '{"note":"changed"}', "PATCH", $json)[0], "\n";
[$status, $problem] = call("/v2/device/7/reboot/NORMAL", "{}", "POST", $json);
echo "refusal $status ", json_decode($problem, true)["resultCode"], "\n";
