// OpenAI's client for Node: models, chat plain and streamed, a file, a batch, a background response.
import assert from "node:assert";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI, { toFile } from "openai";

const client = new OpenAI();
const model = "openrouter/node";
const messages = [{ role: "user", content: "hi" }];

async function until(look, isEnded) {
  const giveUpAt = Date.now() + 60_000;
  for (;;) {
    const seen = await look();
    if (isEnded(seen)) return seen;
    assert(Date.now() < giveUpAt, JSON.stringify(seen));
    await sleep(100);
  }
}

const names = [];
for await (const each of client.models.list()) names.push(each.id);
assert(names.includes("local_fast"));

const answer = await client.chat.completions.create({ model, messages });
assert(answer.choices[0].message.content.startsWith("echo "));

let text = "";
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
  text += chunk.choices[0]?.delta.content ?? "";
assert(text.startsWith("echo "));

const held = await new OpenAI({ timeout: 3_000, maxRetries: 0 }).chat.completions.create({
  model: "openrouter/sim-latency-1",
  messages,
});
assert(held.choices[0].message.content.startsWith("echo "));

await assert.rejects(client.chat.completions.create({ model: "kimi/k3", messages }), OpenAI.NotFoundError);

const url = "/v1/chat/completions";
const lines = [1, 2, 3].map((n) => JSON.stringify({ custom_id: `${n}`, method: "POST", url, body: { model, messages } }));
const file = await client.files.create({ file: await toFile(Buffer.from(lines.join("\n")), "lines.jsonl"), purpose: "batch" });
const made = await client.batches.create({ input_file_id: file.id, endpoint: url, completion_window: "24h" });
const batch = await until(() => client.batches.retrieve(made.id), (seen) => seen.status === "completed");
const output = await (await client.files.content(batch.output_file_id)).text();
assert.deepEqual(output.trim().split("\n").map((line) => JSON.parse(line).custom_id).sort(), ["1", "2", "3"]);

const begun = await client.responses.create({ model, input: "hi", background: true });
const ended = await until(
  () => client.responses.retrieve(begun.id),
  (seen) => !["queued", "in_progress"].includes(seen.status),
);
assert.equal(ended.status, "completed");
assert(ended.output_text.startsWith("echo "));
