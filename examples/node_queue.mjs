// Right in one process: each request waits for the one before it, so the read, the await and the write stay together.
//
//     node node_queue.mjs 3000
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";

let visits = 0;
let last = Promise.resolve();

async function count() {
  const before = visits;
  await setTimeout(2);
  visits = before + 1;
  return before + 1;
}

createServer(async (request, response) => {
  if (request.method !== "POST") return response.writeHead(405, { Allow: "POST" }).end();
  const mine = (last = last.then(count));
  response.end(`You are number ${await mine}\n`);
}).listen(Number(process.argv[2]), "127.0.0.1");
