using System;
using System.Collections.Generic;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Text.RegularExpressions;

public static class HttpClientClient
{
    static readonly HttpClient Client = new HttpClient { BaseAddress = new Uri("https://eu.ninjarmm.com") };

    static HttpResponseMessage Send(string method, string path, HttpContent body)
    {
        var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = body };
        return Client.SendAsync(request).GetAwaiter().GetResult();
    }

    static string Text(HttpResponseMessage answer)
    {
        return answer.Content.ReadAsStringAsync().GetAwaiter().GetResult();
    }

    static string Field(string text, string name)
    {
        return Regex.Match(text, "\"" + name + "\":\"([^\"]*)\"").Groups[1].Value;
    }

    // The ids of a list: each row has its own.
    static List<int> Ids(string text)
    {
        var ids = new List<int>();
        var depth = 0;
        foreach (Match found in Regex.Matches(text, "[\\[{]|[\\]}]|\"id\":(\\d+)"))
        {
            if (found.Value == "[" || found.Value == "{") depth++;
            else if (found.Value == "]" || found.Value == "}") depth--;
            else if (depth == 2) ids.Add(int.Parse(found.Groups[1].Value));
        }
        return ids;
    }

    public static int Main()
    {
        var form = new Dictionary<string, string>();
        form["grant_type"] = "client_credentials";
        form["client_id"] = "made-up-id";
        form["client_secret"] = "made-up-secret-5f3a";
        form["scope"] = "monitoring management";
        var token = Text(Send("POST", "/ws/oauth/token", new FormUrlEncodedContent(form)));
        Console.WriteLine("token " + Field(token, "token_type"));
        Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Field(token, "access_token"));
        Console.WriteLine("list " + Ids(Text(Send("GET", "/v2/organizations", null))).Count);
        var count = 0;
        var after = 0;
        while (true)
        {
            var page = Ids(Text(Send("GET", "/v2/devices?pageSize=25&after=" + after, null)));
            if (page.Count == 0) break;
            count += page.Count;
            after = page[page.Count - 1];
        }
        Console.WriteLine("paging " + count);
        var upload = new MultipartFormDataContent();
        upload.Add(new StringContent(new string('n', 6000)), "files", "notes.txt");
        Console.WriteLine("upload " + (int)Send("POST", "/v2/attachments/temp/upload", upload).StatusCode);
        var file = Send("GET", "/v2/attachment/7?size=300000", null).Content.ReadAsByteArrayAsync().GetAwaiter().GetResult();
        Console.WriteLine("download " + file.Length);
        var change = new StringContent("{\"note\":\"changed\"}", Encoding.UTF8, "application/json");
        Console.WriteLine("write " + (int)Send("PATCH", "/v2/device/7/custom-fields", change).StatusCode);
        var refusal = Send("POST", "/v2/device/7/reboot/NORMAL", new StringContent("{}", Encoding.UTF8, "application/json"));
        Console.WriteLine("refusal " + (int)refusal.StatusCode + " " + Field(Text(refusal), "resultCode"));
        return 0;
    }
}
