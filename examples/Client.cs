// Ask AI Gateway from C# (.NET 6 or newer), without a package.
//
//     dotnet run Client.cs                           a short tour (.NET 10; before it, in a project: see README.md)
//     dotnet run Client.cs -- query "Why is the sky blue?"
//     dotnet run Client.cs -- stream "Why is the sky blue?"
//     dotnet run Client.cs -- rag FILE "What does it say about refunds?"
//     dotnet run Client.cs -- health
//
// AI_GATEWAY_URL says where the gateway is (http://127.0.0.1:8000), AI_GATEWAY_TOKEN is its token, if it wants one.
// The answer goes to standard output; who gave it, and what went wrong, to standard error.
// Exit code: 0 answered, 2 wrong usage, 3 no answer or one that was cut.

using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Threading;
using System.Threading.Tasks;

/// <summary>The message says what is wrong with the call.</summary>
class WrongUsage : Exception { public WrongUsage(string message) : base(message) { } }

/// <summary>There is no answer, or half of one. The message says why, and what to do.</summary>
class NoAnswer : Exception { public NoAnswer(string message) : base(message) { } }

static class Client
{
    const string Usage = "usage: client [query PROMPT | stream PROMPT | rag FILE QUESTION | health]";
    const int Deadline = 240; // seconds the gateway may take, all tiers together: a cold local model needs minutes
    const int Patience = Deadline + 15; // seconds we wait: the gateway answers or explains itself by its deadline

    static readonly string Url = (Variable("AI_GATEWAY_URL") ?? "http://127.0.0.1:8000").TrimEnd('/');
    static readonly string Token = Variable("AI_GATEWAY_TOKEN");
    static readonly HttpClient Http = new HttpClient(new HttpClientHandler { UseProxy = !IsHere() })
    {
        Timeout = TimeSpan.FromSeconds(Patience),
    };

    static Task Query(string prompt) => Tell("/ai/query", body => body.WriteString("prompt", prompt));

    static Task Rag(Action<Utf8JsonWriter> document, string question) => Tell("/ai/query/rag", body =>
    {
        body.WriteString("prompt", question);
        body.WriteStartArray("documents");
        body.WriteStartObject();
        document(body);
        body.WriteEndObject();
        body.WriteEndArray();
    });

    static async Task Tell(string path, Action<Utf8JsonWriter> fields)
    {
        using (var reply = await Ask(path, fields))
        {
            Say(Text(reply.RootElement, "response") + "\n");
            foreach (var source in reply.RootElement.GetProperty("details").GetProperty("sources").EnumerateArray())
                if (source.GetProperty("cited").GetBoolean())
                    Say($"[{source.GetProperty("n")}] {Text(source, "document")}, "
                        + $"characters {source.GetProperty("start")} to {source.GetProperty("end")}\n");
            Note(AnsweredBy(reply.RootElement));
        }
    }

    static async Task Health()
    {
        using (var reply = await Ask("/health", null))
            foreach (var field in reply.RootElement.EnumerateObject())
                Say($"{field.Name}: {field.Value.GetRawText().Trim('"')}\n");
    }

    /// <summary>Show the answer as it grows. Only `done` makes it whole: a stream that just ends was cut.</summary>
    static async Task Stream(string prompt)
    {
        Action<Utf8JsonWriter> fields = body =>
        {
            body.WriteString("prompt", prompt);
            body.WriteBoolean("stream", true);
        };
        using (var reply = await Send("/ai/query", fields, "text/event-stream"))
        using (var lines = new StreamReader(await reply.Content.ReadAsStreamAsync()))
        using (var patience = new CancellationTokenSource(TimeSpan.FromSeconds(Patience)))
        using (patience.Token.Register(reply.Dispose))
        {
            string name = "", data = "", writer = "";
            while (await NextLine(lines) is string line)
            {
                // An empty line ends an event; a line that begins with ":" is a comment.
                if (line.StartsWith("event:", StringComparison.Ordinal)) name = line.Substring(6).Trim();
                else if (line.StartsWith("data:", StringComparison.Ordinal)) data += line.Substring(5);
                else if (line == "" && data != "")
                {
                    using (var value = JsonDocument.Parse(data))
                        if (Show(name, value.RootElement, ref writer)) return;
                    name = data = "";
                }
            }
        }
        throw new NoAnswer("\nThe answer was cut: the stream ended without its end mark.\n"
            + "Cure: ask again; the text above is not whole");
    }

    /// <summary>The next line; null at the end, however it came: whoever reads us misses the end mark.</summary>
    static async Task<string> NextLine(StreamReader lines)
    {
        try { return await lines.ReadLineAsync(); }
        catch (Exception e) when (e is IOException || e is HttpRequestException || e is ObjectDisposedException) { return null; }
    }

    /// <summary>Tell one event; true when the answer is whole. `writer` is the tier whose text is shown.</summary>
    static bool Show(string name, JsonElement value, ref string writer)
    {
        switch (name)
        {
            case "meta":
                writer = Text(value, "backend");
                break;
            case "delta":
                Say(Text(value, "text"));
                break;
            case "segment":
                var brokeOff = $"\n[{writer} broke off ({Text(value, "reason")}): ";
                writer = Text(value, "backend");
                if (Text(value, "action") == "restart") // what was shown is void, and standard output has to say so
                    Say($"{brokeOff}discard the text above, {writer} starts anew]\n");
                else
                    Note($"{brokeOff}{writer} goes on]");
                break;
            case "error":
                throw new NoAnswer("\n" + Explained(value));
            case "done":
                Say("\n");
                Note(AnsweredBy(value));
                return true;
        }
        return false;
    }

    static async Task<JsonDocument> Ask(string path, Action<Utf8JsonWriter> fields)
    {
        using (var reply = await Send(path, fields, "application/json")) return await Read(reply);
    }

    static async Task<JsonDocument> Read(HttpResponseMessage reply)
    {
        try { return JsonDocument.Parse(await reply.Content.ReadAsStringAsync()); }
        catch (Exception e) when (e is HttpRequestException || e is IOException || e is JsonException) { throw Nobody(); }
    }

    /// <summary>The reply as soon as its head is here, or NoAnswer.</summary>
    static async Task<HttpResponseMessage> Send(string path, Action<Utf8JsonWriter> fields, string mediaType)
    {
        HttpResponseMessage reply;
        try
        {
            var request = new HttpRequestMessage(fields == null ? HttpMethod.Get : HttpMethod.Post, Url + path);
            if (fields != null) request.Content = Body(fields);
            if (Token != null) request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", Token);
            reply = await Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        }
        catch (Exception e) when (e is HttpRequestException || e is TaskCanceledException || e is UriFormatException) { throw Nobody(); }
        var type = reply.Content.Headers.ContentType?.MediaType;
        if (reply.IsSuccessStatusCode && type == mediaType) return reply;
        using (reply)
            if (type == "application/problem+json")
                using (var problem = await Read(reply)) throw new NoAnswer(Explained(problem.RootElement));
        throw new NoAnswer($"What answers at {Url} is not AI Gateway. Set AI_GATEWAY_URL to where it runs.");
    }

    /// <summary>The gateway runs on this machine, and no proxy leads there.</summary>
    static bool IsHere() => Uri.TryCreate(Url, UriKind.Absolute, out var address) && address.IsLoopback;

    static HttpContent Body(Action<Utf8JsonWriter> fields)
    {
        var bytes = new MemoryStream();
        using (var body = new Utf8JsonWriter(bytes))
        {
            body.WriteStartObject();
            fields(body);
            body.WriteBoolean("details", true);
            body.WriteNumber("deadline_s", Deadline);
            body.WriteEndObject();
        }
        var content = new ByteArrayContent(bytes.ToArray());
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        return content;
    }

    static NoAnswer Nobody() => new NoAnswer($"No answer from {Url}. Is the gateway running? "
        + "Start it with \"ai-gateway serve\", or set AI_GATEWAY_URL.");

    /// <summary>An application/problem+json in words: what happened, at which tier, and what helps.</summary>
    static string Explained(JsonElement problem)
    {
        var lines = new List<string> { $"{Text(problem, "title")} ({Text(problem, "code")})", Text(problem, "detail") };
        foreach (var tier in problem.GetProperty("attempts").EnumerateArray())
            lines.Add($"  {Text(tier, "backend")} {Text(tier, "outcome")}: {Text(tier, "reason") ?? "-"}");
        if (Text(problem, "cure") != "") lines.Add($"Cure: {Text(problem, "cure")}");
        return string.Join("\n", lines);
    }

    static string AnsweredBy(JsonElement reply)
    {
        var details = reply.GetProperty("details");
        var writers = details.GetProperty("segments").EnumerateArray().Select(segment => Text(segment, "backend"));
        // The finishes "length" and "content_filter" are answers cut short.
        return $"[answered by {string.Join(", then ", writers)}; finish: {Text(details, "finish_reason")}; "
            + $"Copilot's circuit: {Text(reply, "state")}]";
    }

    static string Text(JsonElement element, string name) => element.GetProperty(name).GetString();

    static void Say(string text) => Console.Out.Write(text);

    static void Note(string text) => Console.Error.Write(text + "\n");

    static string Variable(string name)
    {
        var value = Environment.GetEnvironmentVariable(name)?.Trim();
        return value == "" ? null : value;
    }

    /// <summary>Any file: the gateway reads text, PDF, Word, HTML and others by their name and bytes.</summary>
    static Action<Utf8JsonWriter> DocumentOf(string file)
    {
        byte[] content;
        try { content = File.ReadAllBytes(file); }
        catch (Exception e) when (e is IOException || e is UnauthorizedAccessException) { throw new WrongUsage($"Cannot read {file}"); }
        return body =>
        {
            body.WriteString("name", Path.GetFileName(file));
            body.WriteBase64String("content_base64", content);
        };
    }

    static async Task Tour()
    {
        Action<Utf8JsonWriter> policy = body =>
        {
            body.WriteString("name", "policy.txt");
            body.WriteString("text", "Customers may return items within 30 days. Later there are no refunds.");
        };
        Say("== health ==\n");
        await Health();
        Say("\n== query ==\n");
        await Query("Why is the sky blue? Answer in one sentence.");
        Say("\n== rag ==\n");
        await Rag(policy, "How long may customers return items?");
        Say("\n== stream ==\n");
        await Stream("Tell me about lighthouses in two sentences.");
    }

    static Task Run(string[] given)
    {
        if (!Url.StartsWith("http://") && !Url.StartsWith("https://"))
            throw new WrongUsage("AI_GATEWAY_URL has to begin with http:// or https://");
        if (given.Length == 0) return Tour();
        if (given[0] == "health" && given.Length == 1) return Health();
        if (given[0] == "query" && given.Length == 2) return Query(given[1]);
        if (given[0] == "stream" && given.Length == 2) return Stream(given[1]);
        if (given[0] == "rag" && given.Length == 3) return Rag(DocumentOf(given[1]), given[2]);
        throw new WrongUsage(Usage);
    }

    static int Main(string[] arguments)
    {
        Console.OutputEncoding = new UTF8Encoding(false);
        try
        {
            Run(arguments).GetAwaiter().GetResult();
            return 0;
        }
        catch (WrongUsage wrong)
        {
            Note(wrong.Message);
            return 2;
        }
        catch (NoAnswer why)
        {
            Note(why.Message);
            return 3;
        }
    }
}
