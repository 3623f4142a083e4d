import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Base64;
import java.util.regex.Pattern;

public class HttpClientClient {
    static final String HOST = "https://eu.ninjarmm.com";
    static final HttpClient CLIENT = HttpClient.newHttpClient();
    static String authorization = "Basic " + Base64.getEncoder().encodeToString("made-up-id:made-up-secret-5f3a".getBytes());

    static HttpResponse<byte[]> call(String method, String path, String kind, String body) throws Exception {
        var publisher = body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(body);
        var request = HttpRequest.newBuilder(URI.create(HOST + path)).method(method, publisher);
        if (kind != null) {
            request.header("Content-Type", kind);
        }
        return CLIENT.send(request.header("Authorization", authorization).build(), BodyHandlers.ofByteArray());
    }

    static String field(HttpResponse<byte[]> answer, String name) {
        var found = Pattern.compile("\"" + name + "\":\"([^\"]*)\"").matcher(new String(answer.body()));
        return found.find() ? found.group(1) : new String(answer.body());
    }

    /** The ids of a list: each row begins with its own. */
    static int[] ids(HttpResponse<byte[]> answer) {
        var ids = new java.util.ArrayList<Integer>();
        int depth = 0;
        var text = new String(answer.body());
        var own = Pattern.compile("[\\[{]|[\\]}]|\"id\":(\\d+)").matcher(text);
        while (own.find()) {
            var found = own.group();
            if (found.equals("[") || found.equals("{")) {
                depth++;
            } else if (found.equals("]") || found.equals("}")) {
                depth--;
            } else if (depth == 2) {
                ids.add(Integer.parseInt(own.group(1)));
            }
        }
        return ids.stream().mapToInt(Integer::intValue).toArray();
    }

    public static void main(String[] arguments) throws Exception {
        var token = call("POST", "/ws/oauth/token", "application/x-www-form-urlencoded", "grant_type=client_credentials&scope=monitoring%20management");
        System.out.println("token " + field(token, "token_type"));
        authorization = "Bearer " + field(token, "access_token");
        System.out.println("list " + ids(call("GET", "/v2/organizations", null, null)).length);
        int count = 0, after = 0;
        for (int[] page; (page = ids(call("GET", "/v2/devices?pageSize=25&after=" + after, null, null))).length > 0;) {
            count += page.length;
            after = page[page.length - 1];
        }
        System.out.println("paging " + count);
        var part = "--xyz\r\nContent-Disposition: form-data; name=\"files\"; filename=\"notes.txt\"\r\n\r\n" + "notes ".repeat(1000) + "\r\n--xyz--\r\n";
        System.out.println("upload " + call("POST", "/v2/attachments/temp/upload", "multipart/form-data; boundary=xyz", part).statusCode());
        System.out.println("download " + call("GET", "/v2/attachment/7?size=300000", null, null).body().length);
        System.out.println("write " + call("PATCH", "/v2/device/7/custom-fields", "application/json", "{\"note\":\"changed\"}").statusCode());
        var refusal = call("POST", "/v2/device/7/reboot/NORMAL", "application/json", "{}");
        System.out.println("refusal " + refusal.statusCode() + " " + field(refusal, "resultCode"));
    }
}
