import { createServer } from 'node:http'

// The least that Node.js can do for a request: no framework, no database.
createServer((_req, res) => {
  res.writeHead(200, { 'content-type': 'text/plain', 'content-length': 5 }).end('hello')
}).listen(Number(process.env.PORT), '127.0.0.1')
