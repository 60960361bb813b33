// Right in one process: there is no await between the read and the write, and JavaScript runs one piece at a time.
//
//     node node_global.mjs 3000
import { createServer } from "node:http";

let visits = 0;

createServer((request, response) => {
  if (request.method !== "POST") return response.writeHead(405, { Allow: "POST" }).end();
  visits += 1;
  response.end(`You are number ${visits}\n`);
}).listen(Number(process.argv[2]), "127.0.0.1");
