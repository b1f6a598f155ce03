// The ai package (Vercel) with its provider for OpenAI-compatible servers.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { address, question, serve, token } from "./loop.mjs";

const model = createOpenAICompatible({ name: "gateway", baseURL: `${address}/v1`, apiKey: token })("auto");

await serve("ai", {
  whole: async () => (await generateText({ model, prompt: question })).text,
  stream: async (show) => {
    let failure; // errors are told to onError; the text alone just ends, or ends in a lesser one
    const reply = streamText({ model, prompt: question, onError: ({ error }) => (failure ??= error) });
    try {
      for await (const piece of reply.textStream) show(piece);
    } catch (error) {
      failure ??= error;
    }
    if (failure) throw failure;
  },
});
