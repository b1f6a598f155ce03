// The openai package for JavaScript.
import OpenAI from "openai";
import { address, serve, token, turns } from "./loop.mjs";

const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: token });

await serve("openai", {
  whole: async () => (await client.chat.completions.create({ model: "auto", messages: turns })).choices[0].message.content,
  stream: async (show) => {
    for await (const chunk of await client.chat.completions.create({ model: "auto", messages: turns, stream: true }))
      show(chunk.choices[0]?.delta?.content);
  },
  responses: async () => (await client.responses.create({ model: "auto", input: turns })).output_text,
});
