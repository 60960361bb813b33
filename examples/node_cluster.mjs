// Wrong: node:cluster starts two processes, and each has a `visits` of its own.
//
//     node node_cluster.mjs 3000
import cluster from "node:cluster";
import { createServer } from "node:http";

let visits = 0;

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
} else {
  createServer((request, response) => {
    if (request.method !== "POST") return response.writeHead(405, { Allow: "POST" }).end();
    visits += 1;
    response.end(`You are number ${visits}\n`);
  }).listen(Number(process.argv[2]), "127.0.0.1");
}
