// Ask AI Gateway from Java 11 or newer, with nothing but the JDK.
//
//     java Client.java                        a short tour
//     java Client.java query "Why is the sky blue?"
//     java Client.java stream "Why is the sky blue?"
//     java Client.java rag FILE "What does it say about refunds?"
//     java Client.java health
//
// AI_GATEWAY_URL says where the gateway is (http://127.0.0.1:8000), AI_GATEWAY_TOKEN is its token, if it wants one.
// The answer goes to standard output; who gave it, and what went wrong, to standard error.
// Exit code: 0 answered, 2 wrong usage, 3 no answer or one that was cut.

import java.io.*;
import java.math.BigDecimal;
import java.net.URI;
import java.net.http.*;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public class Client {
    static final String USAGE = "usage: client [query PROMPT | stream PROMPT | rag FILE QUESTION | health]";
    static final String URL = variable("AI_GATEWAY_URL", "http://127.0.0.1:8000").replaceAll("/+$", "");
    static final String TOKEN = variable("AI_GATEWAY_TOKEN", "");
    static final int DEADLINE = 240; // seconds the gateway may take, all tiers together: a cold local model needs minutes
    static final int PATIENCE = DEADLINE + 15; // seconds we wait: the gateway answers or explains itself by its deadline
    // Java's own rules ask no proxy for what runs on this machine.
    static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(10)).build();

    static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    static final PrintStream ERR = new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8);

    /** The message says what is wrong with the call. */
    static class WrongUsage extends RuntimeException {
        WrongUsage(String message) { super(message); }
    }

    /** There is no answer, or half of one. The message says why, and what to do. */
    static class NoAnswer extends RuntimeException {
        NoAnswer(String message) { super(message); }
    }

    static void query(String prompt) {
        tell(ask("/ai/query", Map.of("prompt", prompt)));
    }

    static void rag(Map<String, Object> document, String question) {
        tell(ask("/ai/query/rag", Map.of("prompt", question, "documents", List.of(document))));
    }

    static void tell(Map<String, Object> reply) {
        say(text(reply, "response") + "\n");
        for (var source : list(object(reply, "details"), "sources")) {
            if (source.get("cited").equals(true)) {
                say(String.format("[%s] %s, characters %s to %s\n",
                        source.get("n"), source.get("document"), source.get("start"), source.get("end")));
            }
        }
        note(answeredBy(reply));
    }

    static void health() {
        ask("/health", null).forEach((name, value) -> say(name + ": " + value + "\n"));
    }

    /** Show the answer as it grows. Only `done` makes it whole: a stream that just ends was cut. */
    static void stream(String prompt) {
        var reply = send("/ai/query", Map.of("prompt", prompt, "stream", true), "text/event-stream");
        CompletableFuture.delayedExecutor(PATIENCE, TimeUnit.SECONDS).execute(() -> close(reply));
        var lines = new BufferedReader(new InputStreamReader(reply, StandardCharsets.UTF_8));
        String name = "", data = "", writer = "";
        for (String line; (line = nextLine(lines)) != null; ) {
            // An empty line ends an event; a line that begins with ":" is a comment.
            if (line.startsWith("event:")) {
                name = line.substring(6).trim();
            } else if (line.startsWith("data:")) {
                data += line.substring(5);
            } else if (line.isEmpty() && !data.isEmpty()) {
                var event = Json.object(data);
                show(name, event, writer);
                if (name.equals("done")) {
                    close(reply);
                    return;
                }
                writer = event.containsKey("backend") ? text(event, "backend") : writer;
                name = data = "";
            }
        }
        throw new NoAnswer("\nThe answer was cut: the stream ended without its end mark.\n"
                + "Cure: ask again; the text above is not whole");
    }

    /** The next line; null at the end, however it came: whoever reads us misses the end mark. */
    static String nextLine(BufferedReader lines) {
        try {
            return lines.readLine();
        } catch (IOException gone) {
            return null;
        }
    }

    /** Tell one event. `writer` is the tier whose text was shown so far. */
    static void show(String name, Map<String, Object> event, String writer) {
        if (name.equals("delta")) {
            say(text(event, "text"));
        } else if (name.equals("segment")) {
            var brokeOff = "\n[" + writer + " broke off (" + event.get("reason") + "): ";
            if (event.get("action").equals("restart")) { // what was shown is void, and standard output has to say so
                say(brokeOff + "discard the text above, " + event.get("backend") + " starts anew]\n");
            } else {
                note(brokeOff + event.get("backend") + " goes on]");
            }
        } else if (name.equals("error")) {
            throw new NoAnswer("\n" + explained(event));
        } else if (name.equals("done")) {
            say("\n");
            note(answeredBy(event));
        }
    }

    static Map<String, Object> ask(String path, Map<String, Object> body) {
        return read(send(path, body, "application/json"));
    }

    static Map<String, Object> read(InputStream reply) {
        try (reply) {
            return Json.object(new String(reply.readAllBytes(), StandardCharsets.UTF_8));
        } catch (IOException | IllegalArgumentException broken) {
            throw nobody();
        }
    }

    /** The reply as soon as its head is here, or `NoAnswer`. */
    static InputStream send(String path, Map<String, Object> fields, String mediaType) {
        HttpResponse<Flow.Publisher<List<ByteBuffer>>> reply;
        try {
            var request = HttpRequest.newBuilder(URI.create(URL + path)).timeout(Duration.ofSeconds(PATIENCE))
                    .header("Content-Type", "application/json");
            if (!TOKEN.isEmpty()) {
                request.header("Authorization", "Bearer " + TOKEN);
            }
            if (fields != null) {
                var asked = new LinkedHashMap<>(fields);
                asked.put("details", true);
                asked.put("deadline_s", DEADLINE);
                request.POST(HttpRequest.BodyPublishers.ofString(Json.write(asked)));
            }
            reply = HTTP.send(request.build(), HttpResponse.BodyHandlers.ofPublisher());
        } catch (IOException | InterruptedException | IllegalArgumentException unreachable) {
            throw nobody();
        }
        var body = new Body();
        reply.body().subscribe(body);
        var type = reply.headers().firstValue("content-type").orElse("").split(";")[0];
        if (reply.statusCode() == 200 && type.equals(mediaType)) {
            return body;
        }
        if (type.equals("application/problem+json")) {
            throw new NoAnswer(explained(read(body)));
        }
        throw new NoAnswer("What answers at " + URL + " is not AI Gateway. Set AI_GATEWAY_URL to where it runs.");
    }

    static NoAnswer nobody() {
        return new NoAnswer("No answer from " + URL
                + ". Is the gateway running? Start it with \"ai-gateway serve\", or set AI_GATEWAY_URL.");
    }

    /** An application/problem+json in words: what happened, at which tier, and what helps. */
    static String explained(Map<String, Object> problem) {
        var lines = new ArrayList<String>();
        lines.add(text(problem, "title") + " (" + text(problem, "code") + ")");
        lines.add(text(problem, "detail"));
        for (var tier : list(problem, "attempts")) {
            var reason = tier.get("reason") == null ? "-" : tier.get("reason");
            lines.add("  " + tier.get("backend") + " " + tier.get("outcome") + ": " + reason);
        }
        if (!text(problem, "cure").isEmpty()) {
            lines.add("Cure: " + text(problem, "cure"));
        }
        return String.join("\n", lines);
    }

    static String answeredBy(Map<String, Object> reply) {
        var details = object(reply, "details");
        var writers = list(details, "segments").stream().map(s -> text(s, "backend")).collect(Collectors.joining(", then "));
        // The finishes "length" and "content_filter" are answers cut short.
        return String.format("[answered by %s; finish: %s; Copilot's circuit: %s]",
                writers, details.get("finish_reason"), reply.get("state"));
    }

    static String text(Map<String, Object> from, String name) {
        return (String) from.get(name);
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Map<String, Object> from, String name) {
        return (Map<String, Object>) from.get(name);
    }

    @SuppressWarnings("unchecked")
    static List<Map<String, Object>> list(Map<String, Object> from, String name) {
        return (List<Map<String, Object>>) from.get(name);
    }

    static void say(String text) {
        OUT.print(text);
        OUT.flush();
    }

    static void note(String text) {
        ERR.print(text + "\n");
        ERR.flush();
    }

    static void close(InputStream reply) {
        try {
            reply.close();
        } catch (IOException gone) {
            // it is closed either way
        }
    }

    static String variable(String name, String otherwise) {
        var value = System.getenv(name);
        return value == null || value.isBlank() ? otherwise : value.strip();
    }

    /** Any file: the gateway reads text, PDF, Word, HTML and others by their name and bytes. */
    static Map<String, Object> documentOf(String file) {
        try {
            var path = Path.of(file);
            var content = Base64.getEncoder().encodeToString(Files.readAllBytes(path));
            return Map.of("name", path.getFileName().toString(), "content_base64", content);
        } catch (IOException | InvalidPathException unreadable) {
            throw new WrongUsage("Cannot read " + file);
        }
    }

    static void tour() {
        var text = "Customers may return items within 30 days. Later there are no refunds.";
        say("== health ==\n");
        health();
        say("\n== query ==\n");
        query("Why is the sky blue? Answer in one sentence.");
        say("\n== rag ==\n");
        rag(Map.of("name", "policy.txt", "text", text), "How long may customers return items?");
        say("\n== stream ==\n");
        stream("Tell me about lighthouses in two sentences.");
    }

    static void run(List<String> given) {
        if (!URL.startsWith("http://") && !URL.startsWith("https://")) {
            throw new WrongUsage("AI_GATEWAY_URL has to begin with http:// or https://");
        }
        switch (given.isEmpty() ? "tour" : given.get(0) + " " + given.size()) {
            case "tour": tour(); break;
            case "health 1": health(); break;
            case "query 2": query(given.get(1)); break;
            case "stream 2": stream(given.get(1)); break;
            case "rag 3": rag(documentOf(given.get(1)), given.get(2)); break;
            default: throw new WrongUsage(USAGE);
        }
    }

    public static void main(String[] arguments) {
        try {
            run(List.of(arguments));
        } catch (WrongUsage wrong) {
            note(wrong.getMessage());
            System.exit(2);
        } catch (NoAnswer why) {
            note(why.getMessage());
            System.exit(3);
        }
        System.exit(0);
    }
}

/** A body as it comes. Java's own stream forgets, when the connection breaks, what had arrived and was not read yet. */
final class Body extends InputStream implements Flow.Subscriber<List<ByteBuffer>> {
    private static final ByteBuffer END = ByteBuffer.allocate(0), BROKEN = ByteBuffer.allocate(0);
    private final BlockingQueue<ByteBuffer> arrived = new LinkedBlockingQueue<>();
    private volatile Flow.Subscription subscription;
    private ByteBuffer part = ByteBuffer.allocate(0);

    @Override
    public void onSubscribe(Flow.Subscription given) {
        subscription = given;
        given.request(Long.MAX_VALUE);
    }

    @Override
    public void onNext(List<ByteBuffer> parts) {
        arrived.addAll(parts);
    }

    @Override
    public void onError(Throwable broken) {
        arrived.add(BROKEN);
    }

    @Override
    public void onComplete() {
        arrived.add(END);
    }

    @Override
    public int read() throws IOException {
        var one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] into, int from, int most) throws IOException {
        while (part != END && part != BROKEN && !part.hasRemaining()) {
            try {
                part = arrived.take();
            } catch (InterruptedException stopped) {
                throw new InterruptedIOException();
            }
        }
        if (part == BROKEN) {
            throw new IOException("the connection broke");
        }
        if (part == END) {
            return -1;
        }
        int count = Math.min(most, part.remaining());
        part.get(into, from, count);
        return count;
    }

    @Override
    public void close() {
        subscription.cancel();
        arrived.add(END); // whoever waits in another thread
    }
}

/**
 * JSON (RFC 8259) to plain values and back: Map (in order), List, String, BigDecimal, Boolean, null.
 * What is not JSON, or nested deeper than 500, is an IllegalArgumentException that names the place.
 */
final class Json {
    private static final Pattern NUMBER = Pattern.compile("-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?");
    private final String text;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
    }

    static Object read(String text) {
        var json = new Json(text);
        var value = json.value();
        json.check(json.at == text.length());
        return value;
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(String text) {
        var value = read(text);
        if (value instanceof Map) {
            return (Map<String, Object>) value;
        }
        throw new IllegalArgumentException("this is JSON, but not an object");
    }

    static String write(Object value) {
        if (value instanceof Map) {
            return ((Map<?, ?>) value).entrySet().stream()
                    .map(entry -> quoted(entry.getKey().toString()) + ":" + write(entry.getValue()))
                    .collect(Collectors.joining(",", "{", "}"));
        } else if (value instanceof List) {
            return ((List<?>) value).stream().map(Json::write).collect(Collectors.joining(",", "[", "]"));
        }
        return value instanceof String ? quoted((String) value) : String.valueOf(value);
    }

    /** ASCII only; a pair of surrogates becomes a pair of escapes. */
    private static String quoted(String plain) {
        var out = new StringBuilder("\"");
        for (char c : plain.toCharArray()) {
            boolean isPlain = c >= ' ' && c <= '~' && c != '"' && c != '\\';
            out.append(isPlain ? String.valueOf(c) : String.format("\\u%04x", (int) c));
        }
        return out.append('"').toString();
    }

    private Object value() {
        check(++depth <= 500);
        skipSpace();
        Object value;
        if (takes("{")) {
            value = members();
        } else if (takes("[")) {
            value = items();
        } else if (takes("\"")) {
            value = string();
        } else if (takes("null")) {
            value = null;
        } else {
            value = takes("true") ? Boolean.TRUE : takes("false") ? Boolean.FALSE : number();
        }
        skipSpace();
        depth--;
        return value;
    }

    private Map<String, Object> members() {
        var members = new LinkedHashMap<String, Object>();
        skipSpace();
        if (takes("}")) {
            return members;
        }
        do {
            skipSpace();
            check(takes("\""));
            var name = string();
            skipSpace();
            check(takes(":"));
            members.put(name, value());
        } while (takes(","));
        check(takes("}"));
        return members;
    }

    private List<Object> items() {
        var items = new ArrayList<Object>();
        skipSpace();
        if (takes("]")) {
            return items;
        }
        do {
            items.add(value());
        } while (takes(","));
        check(takes("]"));
        return items;
    }

    private String string() {
        var out = new StringBuilder();
        while (!takes("\"")) {
            char c = next();
            check(c >= ' ');
            out.append(c == '\\' ? escaped(next()) : c);
        }
        return out.toString();
    }

    private char escaped(char c) {
        if (c == 'u') {
            int code = 0;
            for (int i = 0; i < 4; i++) {
                int digit = "0123456789abcdef".indexOf(Character.toLowerCase(next()));
                check(digit >= 0);
                code = code * 16 + digit;
            }
            return (char) code;
        }
        int which = "\"\\/bfnrt".indexOf(c);
        check(which >= 0);
        return "\"\\/\b\f\n\r\t".charAt(which);
    }

    private BigDecimal number() {
        var number = NUMBER.matcher(text).region(at, text.length());
        check(number.lookingAt());
        at = number.end();
        return new BigDecimal(number.group());
    }

    private void skipSpace() {
        while (at < text.length() && " \t\n\r".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private boolean takes(String word) {
        boolean isThere = text.startsWith(word, at);
        at += isThere ? word.length() : 0;
        return isThere;
    }

    private char next() {
        check(at < text.length());
        return text.charAt(at++);
    }

    private void check(boolean isRight) {
        if (!isRight) {
            throw new IllegalArgumentException("this is not JSON at character " + at);
        }
    }
}
