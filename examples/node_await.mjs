// Wrong on Node's one thread: an await stands between the read and the write, and updates are lost.
//
//     node node_await.mjs 3000
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";

let visits = 0;

createServer(async (request, response) => {
  if (request.method !== "POST") return response.writeHead(405, { Allow: "POST" }).end();
  const before = visits;
  await setTimeout(2); // a query
  visits = before + 1;
  response.end(`You are number ${before + 1}\n`);
}).listen(Number(process.argv[2]), "127.0.0.1");
