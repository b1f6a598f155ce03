// Reads one JSON text a line by the reader of examples/Client.java, and writes each back by its writer.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

public class RoundTrip {
    public static void main(String[] none) throws IOException {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line; (line = in.readLine()) != null; ) {
            try {
                out.println(Json.write(Json.read(line)));
            } catch (IllegalArgumentException wrong) {
                out.println("refused: " + wrong.getMessage());
            }
        }
    }
}
